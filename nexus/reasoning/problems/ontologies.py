"""Made-up ontologies in the manner of PrOntoQA (Saparov and He 2023, arXiv:2210.01240): chains and distractors."""

from __future__ import annotations

import itertools
import random

from nexus.reasoning.problems.base import KINDS, NAMES, TRAITS, Problem, article, plural, shuffled

MAX_DEPTH = 8


def rule(rng: random.Random, kind: str, what: str, noun: bool, positive: bool = True) -> str:
    """One of several ways to say that all of a kind are (or are not) something."""
    one = f"{'not ' if not positive else ''}{article(what) if noun else what}"
    many = f"{'not ' if not positive else ''}{plural(what) if noun else what}"
    ways = [
        f"Every {kind} is {one}.",
        f"Each {kind} is {one}.",
        f"{plural(kind).capitalize()} are {many}.",
        f"All {plural(kind)} are {many}.",
        f"Any {kind} is {one}.",
        f"Everything that is {article(kind)} is {one}.",
        f"If something is {article(kind)}, then it is {one}.",
    ]
    if noun and positive:
        ways.append(f"{article(kind).capitalize()} is {one}.")
    if not positive:
        ways = [*ways[:4], f"No {kind} is {article(what) if noun else what}."]
    return rng.choice(ways)


def ontology(rng: random.Random, depth: int | None = None) -> Problem:
    """A chain of ``depth`` kinds that ends in a trait, a second chain that leads nowhere, and a question."""
    depth = depth or rng.randint(1, MAX_DEPTH)
    kinds, name, traits = rng.sample(KINDS, len(KINDS)), rng.choice(NAMES), rng.sample(TRAITS, 6)
    chain, others = kinds[:depth], kinds[depth : depth + 4]
    positive = rng.random() < 0.5
    lines = [rule(rng, a, b, True) for a, b in itertools.pairwise(chain)]
    lines.append(rule(rng, chain[-1], traits[0], False, positive))
    lines += [rule(rng, a, b, True) for a, b in itertools.pairwise(others)]
    lines += [rule(rng, rng.choice(others), t, False, rng.random() < 0.5) for t in traits[1:3]]
    lines += [rule(rng, rng.choice(chain), t, False, rng.random() < 0.5) for t in traits[3:5]]
    kind = rng.choice(("holds", "opposite", "open"))
    asked_positive = positive if kind == "holds" else not positive
    asked = traits[5] if kind == "open" else traits[0]
    if kind == "open":
        lines.append(rule(rng, others[0], asked, False))
    claim = f"{name} is {'' if asked_positive else 'not '}{asked}"
    question = rng.choice([f"True or false: {claim}.", f"Is it true that {claim}?", f"Does it follow that {claim}?"])
    fact = f"{name} is {article(chain[0])}."
    text = " ".join([*shuffled(rng, [*lines, fact]), question])
    return Problem("ontology", text, {"holds": "yes", "opposite": "no", "open": "unknown"}[kind], depth)
