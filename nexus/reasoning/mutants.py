"""Corrupted certificates: each mutant is known to be false, so a checker that accepts one is wrong.

Falsity never rests on the checker: a claim is turned into its opposite (over premises that do not contradict each
other), a premise without which the claim does not follow is taken away (z3 says so), a step states something else than
before, a plan is found to fail by moving blocks about, a multiplier of a sum that cancels is changed.
"""

from __future__ import annotations

import copy
import itertools
import random
import re
from collections.abc import Iterator
from typing import Any

from nexus.reasoning import smt
from nexus.reasoning.budget import Budget
from nexus.reasoning.checker import Claim
from nexus.reasoning.formulas import Atom, Theory, from_data, negation, to_data

Mutant = tuple[str, Any, Claim, dict[str, Any]]


def mutants(answer: Any, rng: random.Random, count: int) -> Iterator[Mutant]:
    """``count`` mutants of a proved `Answer`: how it was made, what is given, the claim, the certificate."""
    kind = answer.certificate["kind"]
    makers = {
        "steps": (flipped, restated, rewired),
        "drup": (flipped_drup, shortened),
        "farkas": (flipped, remultiplied),
        "models": (one_world, fact_gone, over_claimed),
        "closed": (flipped, atom_gone, atom_added),
        "plan": (plan_cut, plan_shuffled),
    }[kind]
    made = attempts = 0
    while made < count and attempts < 5 * count:
        attempts += 1
        maker = rng.choice(makers)
        mutant = maker(answer, rng)
        if mutant is not None:
            made += 1
            yield (f"{kind}: {maker.__name__}", *mutant)


def flipped(answer: Any, rng: random.Random) -> Any:
    """The opposite claim; at times the last step is made to state it too."""
    certificate = copy.deepcopy(answer.certificate)
    opposite = negation(answer.claim.formula)
    if certificate["kind"] == "steps" and rng.random() < 0.5:
        certificate["steps"][-1]["then"] = to_data(opposite)
    return answer.given, Claim("entails", opposite), certificate


def restated(answer: Any, rng: random.Random) -> Any:
    """A step that states something else."""
    certificate = copy.deepcopy(answer.certificate)
    step = rng.choice(certificate["steps"])
    others = [to_data(negation(from_data(step["then"])))] + [s["then"] for s in certificate["steps"]]
    others += [to_data(a) for a in answer.given.axioms]
    other = rng.choice([o for o in others if o != step["then"]])
    step["then"] = other
    return answer.given, answer.claim, certificate


def rewired(answer: Any, rng: random.Random) -> Any:
    """A step that rests on others, is about another individual, or is left out."""
    certificate = copy.deepcopy(answer.certificate)
    number = rng.randrange(len(certificate["steps"]))
    step = certificate["steps"][number]
    if step["by"] == "axiom":
        axioms = answer.given.axioms
        other = [i for i in range(len(axioms)) if axioms[i] != axioms[step["with"]]]
        step["with"] = rng.choice([*other, len(axioms), -1])
    elif step["by"] == "instance" and rng.random() < 0.5:
        step["with"] = {var: name + "_else" for var, name in step["with"].items()}
    elif step["from"]:
        place = rng.randrange(len(step["from"]))
        then = certificate["steps"][step["from"][place]]["then"]
        other = [i for i in range(len(certificate["steps"])) if certificate["steps"][i]["then"] != then]
        step["from"][place] = rng.choice([*other, number, len(certificate["steps"])])
    else:
        step["by"] = "axiom"
        step["with"] = len(answer.given.axioms) + 3
    return answer.given, answer.claim, certificate


def _noise(lemmas: list[list[int]], rng: random.Random, top: int) -> list[list[int]]:
    """Lemmas dropped, changed, doubled or made up; the base they are checked against is satisfiable anyway."""
    made = [list(lemma) for lemma in lemmas if rng.random() > 0.1]
    for lemma in made:
        if lemma and rng.random() < 0.3:
            place = rng.randrange(len(lemma))
            lemma[place] = rng.choice((-lemma[place], rng.randint(1, max(top, 1))))
    if rng.random() < 0.5:
        made.insert(
            rng.randint(0, len(made)), rng.choice(([], [rng.randint(1, max(top, 1))], [-rng.randint(1, max(top, 1))]))
        )
    return made


def flipped_drup(answer: Any, rng: random.Random) -> Any:
    """The refutation of one claim, with noise, for its opposite."""
    top = max((abs(n) for lemma in answer.certificate["lemmas"] for n in lemma), default=3)
    certificate = {"kind": "drup", "lemmas": _noise(answer.certificate["lemmas"], rng, top)}
    return answer.given, Claim("entails", negation(answer.claim.formula)), certificate


def shortened(answer: Any, rng: random.Random) -> Any:
    """A premise taken away without which the claim does not follow, by z3."""
    theory = answer.given
    gone = rng.randrange(len(theory.axioms))
    less = Theory((*theory.axioms[:gone], *theory.axioms[gone + 1 :]), theory.sorts, theory.ranges)
    if smt.decide(less, answer.claim.formula, Budget(5))[0] != "open":
        return None
    top = max((abs(n) for lemma in answer.certificate["lemmas"] for n in lemma), default=3)
    return less, answer.claim, {"kind": "drup", "lemmas": _noise(answer.certificate["lemmas"], rng, top)}


def remultiplied(answer: Any, rng: random.Random) -> Any:
    """A multiplier changed: the sum no longer cancels."""
    certificate = copy.deepcopy(answer.certificate)
    sum_ = rng.choice(certificate["sums"])
    term = rng.choice(sum_)
    fact = answer.claim.formula if term[0] < 0 else answer.given.axioms[term[0]]
    if not re.search(r"[a-z]\(", str(fact)):
        return None
    way = rng.choice(("factor", "drop", "negate"))
    if way == "drop":
        sum_.remove(term)
    elif way == "negate":
        term[1] = f"-{term[1]}".replace("--", "")
    else:
        term[1] = f"{rng.randint(2, 9)}{term[1].lstrip('-')}"
    return answer.given, answer.claim, certificate


def one_world(answer: Any, rng: random.Random) -> Any:
    """The same world for and against."""
    certificate = dict(answer.certificate)
    key, other = rng.choice((("for", "against"), ("against", "for")))
    certificate[key] = certificate[other]
    return answer.given, answer.claim, certificate


def fact_gone(answer: Any, rng: random.Random) -> Any:
    """A world without one of the given facts, or with a quantity moved far off."""
    certificate = copy.deepcopy(answer.certificate)
    world = certificate[rng.choice(("for", "against"))]
    facts = [to_data(a) for a in answer.given.axioms if isinstance(a, Atom)]
    if facts:
        world["true"] = (
            [a for a in world["true"] if a != rng.choice(facts)]
            if len(facts) == 1
            else _without(world["true"], facts, rng)
        )
    elif world["values"] and not answer.given.ranges:
        for entry in world["values"]:
            entry[1] = "7"  # all equal: no strict comparison holds
    else:
        return None
    return answer.given, answer.claim, certificate


def _without(true: list[Any], facts: list[Any], rng: random.Random) -> list[Any]:
    gone = rng.choice(facts)
    return [a for a in true if a != gone]


def over_claimed(answer: Any, rng: random.Random) -> Any:
    """What is open is claimed to follow."""
    formula = answer.claim.formula
    return answer.given, Claim("entails", rng.choice((formula, negation(formula)))), answer.certificate


def atom_gone(answer: Any, rng: random.Random) -> Any:
    """A model without an atom that follows."""
    certificate = copy.deepcopy(answer.certificate)
    if not certificate["model"]:
        return None
    certificate["model"].pop(rng.randrange(len(certificate["model"])))
    return answer.given, answer.claim, certificate


def atom_added(answer: Any, rng: random.Random) -> Any:
    """A model with an atom that no rule concludes."""
    certificate = copy.deepcopy(answer.certificate)
    if not certificate["model"]:
        return None
    entry = copy.deepcopy(rng.choice(certificate["model"]))
    entry["atom"] = to_data(Atom(rng.choice(("made_up", entry["atom"][1])), (from_data(["sym", "nobody"]),)))
    certificate["model"].insert(rng.randint(0, len(certificate["model"])), entry)
    return answer.given, answer.claim, certificate


def plan_cut(answer: Any, rng: random.Random) -> Any:
    """Without the last action: search stops at the first state that is a goal, so the one before is none."""
    plan = answer.certificate["plan"]
    if not plan:
        return None
    return answer.given, answer.claim, {"kind": "plan", "plan": plan[: -rng.randint(1, len(plan))]}


def plan_shuffled(answer: Any, rng: random.Random) -> Any:
    """Actions swapped, doubled or exchanged so that moving real blocks about fails."""
    if not any(a.name.startswith("pick up") for a in answer.given.actions):
        return None
    plan = list(answer.certificate["plan"])
    if not plan:
        return None
    names = [a.name for a in answer.given.actions]
    plan[rng.randrange(len(plan))] = rng.choice(names)
    if rng.random() < 0.5:
        plan.insert(rng.randint(0, len(plan)), rng.choice([*names, "fly away"]))
    return None if moves_work(answer.given, plan) else (answer.given, answer.claim, {"kind": "plan", "plan": plan})


def moves_work(problem: Any, plan: list[str]) -> bool:
    """Whether a plan works, by stacking blocks in lists: nothing here knows about needs, adds and deletes."""
    above = {str(a.args[1]): str(a.args[0]) for a in problem.start if a.name == "on"}
    towers = [[str(a.args[0])] for a in problem.start if a.name == "ontable"]
    for tower in towers:
        while tower[-1] in above:
            tower.append(above[tower[-1]])
    hand: str | None = next((str(a.args[0]) for a in problem.start if a.name == "holding"), None)
    for action in plan:
        blocks = re.findall(r"the (\w+) block", action)
        place = {tower[-1]: tower for tower in towers}
        if action.startswith(("pick up", "unstack")):
            held = place.get(blocks[0])
            lower = [] if action.startswith("pick up") else blocks[1:2]
            if hand or held is None or held[-2:-1] != lower:
                return False
            hand = held.pop()
            towers = [t for t in towers if t]
        elif hand is None or blocks[:1] != [hand]:
            return False
        elif action.startswith("put down"):
            towers.append([hand])
            hand = None
        elif action.startswith("stack") and blocks[1] in place:
            place[blocks[1]].append(hand)
            hand = None
        else:
            return False
    below = {upper: lower for tower in towers for lower, upper in itertools.pairwise(tower)}
    return all(below.get(str(a.args[0])) == str(a.args[1]) for a in problem.goal if a.name == "on")
