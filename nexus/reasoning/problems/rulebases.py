"""Small rule bases in the manner of ProofWriter (Tafjord et al. 2021, arXiv:2012.13048), in open and in closed worlds.

The answer is computed by saturating Python sets, layer by layer: rules only ever conclude traits of a later layer than
their premises, so "not" in closed worlds has one meaning.
"""

from __future__ import annotations

import itertools
import random

from nexus.reasoning.problems.base import NAMES, TRAITS, Problem, shuffled

Literal = tuple[str, bool]


def rulebase(rng: random.Random, depth: int | None = None) -> Problem:
    """Facts, rules with one to three premises, and a question whose answer takes up to eight steps."""
    closed = rng.random() < 0.4
    depth = depth or rng.randint(1, 8)
    names, traits = rng.sample(NAMES, 3), rng.sample(TRAITS, len(TRAITS))
    layers = [traits[i : i + 2] for i in range(0, 2 * (depth + 1), 2)]
    facts = {(name, trait) for name in names for trait in layers[0] if rng.random() < 0.7}
    facts.add((names[0], layers[0][0]))
    rules = []
    for below, above in itertools.pairwise(layers):
        rules.append(([(below[0], True)], above[0]))
        pool = list(dict.fromkeys([*below, *layers[0]]))
        body = [(t, not closed or rng.random() < 0.6) for t in rng.sample(pool, rng.randint(1, 2))]
        if all(not p for _, p in body):
            body[0] = (body[0][0], True)
        rules.append((body, above[1]))
    true = _saturate(facts, rules, layers, names)
    name, trait = rng.choice(names), rng.choice(layers[-1])
    positive = rng.random() < 0.5
    holds = (name, trait) in true
    answer = ("yes" if holds == positive else "no") if holds or closed else "unknown"
    return Problem("rulebase", _text(rng, closed, facts, rules, (name, trait, positive)), answer, depth)


def _saturate(
    facts: set[tuple[str, str]], rules: list[tuple[list[Literal], str]], layers: list[list[str]], names: list[str]
) -> set[tuple[str, str]]:
    true = set(facts)
    for layer in layers[1:]:
        for body, head in rules:
            if head in layer:
                true |= {(n, head) for n in names if all(((n, t) in true) == positive for t, positive in body)}
    return true


def _text(
    rng: random.Random,
    closed: bool,
    facts: set[tuple[str, str]],
    rules: list[tuple[list[Literal], str]],
    asked: tuple[str, str, bool],
) -> str:
    lines = [f"{name} is {trait}." for name, trait in sorted(facts)]
    lines += [_rule(rng, body, head) for body, head in rules]
    name, trait, positive = asked
    claim = f"{name} is {'' if positive else 'not '}{trait}"
    question = rng.choice([f"True or false: {claim}.", f"Is it true that {claim}?"])
    head = ["Assume a closed world."] if closed else []
    return " ".join([*head, *shuffled(rng, lines), question])


def _rule(rng: random.Random, body: list[Literal], head: str) -> str:
    body = rng.sample(body, len(body))
    said = [("" if positive else "not ") + trait for trait, positive in body]
    joined = " and ".join(said)
    separate = f"If someone is {said[0]}" + "".join(f" and they are {s}" for s in said[1:]) + f" then they are {head}."
    ways = [f"If something is {joined} then it is {head}.", separate, f"Someone is {head} if they are {joined}."]
    if "not" in joined and not said[0].startswith("not") and len(said) > 1:
        ways = ways[:2]
    if any(s.startswith("not") for s in said):
        return separate
    if len(said) == 1:
        ways += [f"All {said[0]} people are {head}.", f"{said[0].capitalize()} things are {head}."]
    else:
        ways.append(f"{said[0].capitalize()}, {said[1]} people are {head}.")
    return rng.choice(ways)
