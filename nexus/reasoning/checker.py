"""The independent checker: says whether a certificate proves a claim, and imports no solver.

The one idea: whoever found the answer, this file alone decides whether it may be called "proved". It computes every
conclusion itself from the axioms; what a certificate merely states is compared.
A certificate is plain data (dicts, lists, strings, numbers). Kinds, and what they can prove of a claim:

    steps    natural deduction and Horn steps (Gentzen 1935)                          entails
    drup     clauses that unit propagation confirms one by one (Goldberg, Novikov 2003) entails
    farkas   non-negative multiples of inequalities that add up to 0 < 0 (Farkas 1902)  entails
    models   one world for the claim and one against it, by evaluation                unknown
    closed   the perfect model of a stratified program (Apt, Blair, Walker 1988)      entails, in closed worlds
    plan     simulation from the start                                                plan

`check` never raises for a bad certificate: it answers False and why. Instances and new names only ever follow from what
is given, so "entails" is sound; "unknown" rests on worlds that are evaluated whole.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from nexus.reasoning.clauses import NotClausal, clauses_of
from nexus.reasoning.formulas import (
    FALSE,
    OPPOSITE,
    THING,
    And,
    Atom,
    Compare,
    Exists,
    Forall,
    Formula,
    Fun,
    Iff,
    Implies,
    Not,
    Or,
    Planning,
    Sym,
    Theory,
    Truth,
    from_data,
    individuals,
    parts_of,
    rule_parts,
    signature_faults,
    substitute,
)
from nexus.reasoning.semantics import World, evaluate, linear


class Refused(Exception):
    """A certificate that does not prove its claim, and why."""


_PROVES = {"entails": ("steps", "drup", "farkas", "closed"), "unknown": ("models",), "plan": ("plan",)}


@dataclass(frozen=True)
class Claim:
    """What is to be proved: a theory ``entails`` the formula or leaves it ``unknown``; ``plan``: the plan works."""

    kind: str
    formula: Formula = FALSE


def check(given: Theory | Planning, claim: Claim, certificate: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the certificate proves the claim, and the reason if not."""
    try:
        kind = certificate["kind"]
        _need(kind in _PROVES.get(claim.kind, ()), f"{kind} cannot prove {claim.kind}")
        if isinstance(given, Planning):
            _need(kind == "plan", "a planning problem needs a plan")
            _plan(given, certificate)
        else:
            faults = signature_faults(given, claim.formula)
            _need(not faults, "; ".join(faults))
            _need(given.closed == (kind == "closed"), "closed worlds need certificates of kind closed, and only they")
            _KINDS[kind](given, claim.formula, certificate)
    except (Refused, NotClausal) as error:
        return False, str(error)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        return False, f"malformed: {type(error).__name__} {error}"
    return True, "checked"


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise Refused(reason)


# ---- natural deduction: each step yields (open assumptions, formula) ------------------------------------------------

Sequent = tuple[frozenset[Formula], Formula]


def _steps(theory: Theory, goal: Formula, certificate: Mapping[str, Any]) -> None:
    done: list[Sequent] = []
    used: set[int] = set()
    for step in certificate["steps"]:
        refs = list(step.get("from", []))
        _need(all(type(r) is int and 0 <= r < len(done) for r in refs), "a step uses one that is not before it")
        used.update(refs)
        sequent = _infer(theory, goal, step["by"], [done[r] for r in refs], step.get("with"))
        _need(sequent[1] == from_data(step["then"]), f"step {len(done)} states what does not follow")
        done.append(sequent)
    _need(used == set(range(len(done) - 1)), "a step is not used")
    _need(done[-1] == (frozenset(), goal), "the last step is not the claim, or rests on an assumption")


def _infer(theory: Theory, goal: Formula, by: str, above: list[Sequent], extra: Any) -> Sequent:
    opened = frozenset[Formula]().union(*(a for a, _ in above))
    forms = [f for _, f in above]
    match by, forms, extra:
        case "axiom", [], int(i) if 0 <= i < len(theory.axioms):
            return opened, theory.axioms[i]
        case "assume", [], _:
            return frozenset([from_data(extra)]), from_data(extra)
        case "instance", [given], dict():
            formula: Any = given
            for var, name in extra.items():
                _need(isinstance(formula, Forall) and formula.var == var, f"{var} is not the outermost variable")
                _need(name in theory.sorts.get(formula.sort, (name,)), f"{name} is not a {formula.sort}")
                formula = substitute(formula.body, {var: Sym(name)})
            return opened, formula
        case "mp", [Implies(left, right), *rest], None if rest == parts_of(left):
            return opened, right
        case "and", [_, _, *_], None:
            return opened, And(tuple(forms))
        case "part", [And(parts)], int(i) if 0 <= i < len(parts):
            return opened, parts[i]
        case "or", [formula], _:
            whole = from_data(extra)
            _need(isinstance(whole, Or) and formula in whole.parts, "not a part of the disjunction")
            return opened, whole
        case "cases", [Or(parts), *rest], None if len(rest) == len(parts) > 0 and len(set(rest)) == 1:
            cases = [a - {part} for (a, _), part in zip(above[1:], parts, strict=True)]
            return above[0][0].union(*cases), rest[0]
        case "contradiction", [formula, Not(body)], None if formula == body:
            return opened, FALSE
        case "not", [Truth(False)], _:
            return opened - {from_data(extra)}, Not(from_data(extra))
        case "reductio", [Truth(False)], _:
            return opened - {Not(from_data(extra))}, from_data(extra)
        case "suppose", [formula], _:
            return opened - {from_data(extra)}, Implies(from_data(extra), formula)
        case "iff", [Iff(left, right)], "forth" | "back":
            return opened, Implies(left, right) if extra == "forth" else Implies(right, left)
        case "exists", [formula], [str(name), whole_data]:
            whole = from_data(whole_data)
            _need(isinstance(whole, Exists) and formula == substitute(whole.body, {whole.var: Sym(name)}), "no witness")
            _need(name in theory.sorts.get(whole.sort, (name,)), f"{name} is not a {whole.sort}")
            return opened, whole
        case "all", [formula], [str(name), whole_data]:
            whole = from_data(whole_data)
            _need(isinstance(whole, Forall), "no generalisation")
            _need(formula == substitute(whole.body, {whole.var: Sym(name)}), "not an instance of what it is said to be")
            _need(whole.sort not in theory.sorts, "a closed sort has no arbitrary member")
            named = individuals([*theory.axioms, *opened, goal, whole])
            _need(name not in named and all(name not in s for s in theory.sorts.values()), f"{name} is not arbitrary")
            return opened, whole
    raise Refused(f"no inference {by} from {len(forms)} premises fits")


def _drup(theory: Theory, goal: Formula, certificate: Mapping[str, Any]) -> None:
    given, keys = clauses_of(theory, goal)
    clauses: list[list[int]] = []
    where: dict[int, list[int]] = defaultdict(list)
    fixed: set[int] = set()  # literals that hold for good

    def propagate(true: set[int], fresh: list[int]) -> bool:
        """Unit propagation; True if it ends in a contradiction."""
        while fresh:
            for index in where[-fresh.pop()]:
                if any(lit in true for lit in clauses[index]):
                    continue
                open_ = [lit for lit in clauses[index] if -lit not in true]
                if not open_:
                    return True
                if len(open_) == 1:
                    true.add(open_[0])
                    fresh.append(open_[0])
        return False

    def add(clause: list[int]) -> bool:
        for lit in clause:
            where[lit].append(len(clauses))
        clauses.append(clause)
        open_ = [lit for lit in clause if -lit not in fixed]
        if len(open_) != 1 or open_[0] in fixed:
            return not open_
        fixed.add(open_[0])
        return propagate(fixed, [open_[0]])

    closed = [add(clause) for clause in given]  # all are added, whatever the first ones lead to
    if any(closed):
        return
    for lemma in certificate["lemmas"]:
        _need(all(type(lit) is int and 0 < abs(lit) <= len(keys) for lit in lemma), "a lemma names no variable")
        true = fixed | {-lit for lit in lemma}
        follows = any(-lit in true for lit in true) or propagate(true, [-lit for lit in lemma])
        _need(follows, f"lemma {lemma} does not follow")
        if add(list(lemma)):
            return
    raise Refused("the lemmas do not end in a contradiction")


def _farkas(theory: Theory, goal: Formula, certificate: Mapping[str, Any]) -> None:
    """One sum for each way in which the claim could fail: x = y fails by x < y and by x > y."""
    ways = [way for part in parts_of(goal) for way in _denials(part)]
    _need(len(ways) == len(certificate["sums"]) > 0, "not one sum for each way to fail")
    for denial, sum_ in zip(ways, certificate["sums"], strict=True):
        total: dict[Fun | None, Fraction] = defaultdict(Fraction)
        strict = False
        for index, text in sum_:
            factor = Fraction(text)
            _need(type(index) is int and -1 <= index < len(theory.axioms) and factor != 0, "a term names no inequality")
            fact: Any = denial if index < 0 else theory.axioms[index]
            _need(isinstance(fact, Compare) and fact.op != "!=", "only inequalities and equations can be added")
            _need(factor > 0 or fact.op == "=", "an inequality cannot be multiplied by a negative number")
            flip = -1 if fact.op in (">", ">=") else 1  # brought to the form left - right <= 0 or < 0
            strict |= fact.op in ("<", ">")
            for unknown, coefficient in linear(Fun("-", (fact.left, fact.right))).items():
                total[unknown] += factor * flip * coefficient
        constant = total.pop(None, Fraction(0))
        _need(not any(total.values()), "unknowns do not cancel")
        _need(constant > 0 or (strict and constant == 0), "the sum is no contradiction")


def _denials(claim: Any) -> list[Formula]:
    _need(isinstance(claim, Compare), "the claim is not about quantities")
    ops = ("<", ">") if claim.op == "=" else (OPPOSITE[claim.op],)
    return [Compare(op, claim.left, claim.right) for op in ops]


def _world(theory: Theory, data: Mapping[str, Any]) -> World:
    values = {from_data(q): Fraction(v) for q, v in data["values"]}
    world = World({from_data(a) for a in data["true"]}, values, {THING: tuple(data["things"]), **theory.sorts})
    for quantity, (low, high) in theory.ranges.items():
        value = values[quantity]
        _need(value.denominator == 1 and low <= value <= high, f"{quantity} is out of its range")
    _need(bool(data["things"]), "there is nothing in the world")
    _need(set(individuals(theory.axioms)) <= {n for s in world.sorts.values() for n in s}, "an individual is left out")
    for axiom in theory.axioms:
        _need(evaluate(axiom, world), f"{axiom} does not hold in the world")
    return world


def _models(theory: Theory, goal: Formula, certificate: Mapping[str, Any]) -> None:
    for key, wanted in (("for", True), ("against", False)):
        _need(evaluate(goal, _world(theory, certificate[key])) == wanted, f"the world {key} the claim is not")


def _closed(theory: Theory, goal: Formula, certificate: Mapping[str, Any]) -> None:
    """Strata exist, each true atom is supported by a rule and by earlier atoms, and no rule leads out of the set."""
    order = [from_data(entry["atom"]) for entry in certificate["model"]]
    true, strata, names = set(order), certificate["strata"], individuals([*theory.axioms, goal]) or ["_"]
    rules: list[tuple[list[str], list[Any], Any]] = [rule_parts(axiom) for axiom in theory.axioms]
    _need(all(type(level) is int for level in strata.values()), "strata are whole numbers")
    for variables, body, head in rules:
        for literal in body:
            low: Any = literal.body if isinstance(literal, Not) else literal
            _need(isinstance(low, Atom) and isinstance(head, Atom), "an axiom is not a rule")
            _need(strata[low.name] + isinstance(literal, Not) <= strata[head.name], "no strata")
        for values in itertools.product(names, repeat=len(variables)):
            binding = {v: Sym(n) for v, n in zip(variables, values, strict=True)}
            ground = [substitute(literal, binding) for literal in body]
            holds = all(lit.body not in true if isinstance(lit, Not) else lit in true for lit in ground)
            _need(not holds or substitute(head, binding) in true, "a rule leads out of the model")
    earlier: set[Atom] = set()
    for atom, entry in zip(order, certificate["model"], strict=True):
        variables, body, head = rules[entry["rule"]]
        binding = {v: Sym(entry["with"][v]) for v in variables}
        _need(substitute(head, binding) == atom, "the rule concludes something else")
        for literal in (substitute(lit, binding) for lit in body):
            _need(literal.body not in true if isinstance(literal, Not) else literal in earlier, "a premise is missing")
        earlier.add(atom)
    _need(evaluate(goal, World(true, {}, {THING: tuple(names), **theory.sorts})), "the claim is false in the model")


def _plan(problem: Planning, certificate: Mapping[str, Any]) -> None:
    actions = {action.name: action for action in problem.actions}
    _need(len(actions) == len(problem.actions), "two actions share a name")
    state = set(problem.start)
    for name in certificate["plan"]:
        _need(name in actions, f"there is no action {name}")
        action = actions[name]
        _need(action.needs <= state and not action.forbids & state, f"{name} is not possible there")
        state = (state - action.deletes) | action.adds
    _need(problem.goal <= state, "the goal is not reached")


_KINDS = {"steps": _steps, "drup": _drup, "farkas": _farkas, "models": _models, "closed": _closed}
