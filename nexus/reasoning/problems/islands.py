"""Knights and knaves: who can be what is found by trying all combinations; only problems with one solution are kept."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from nexus.reasoning.problems.base import NAMES, Problem

Kinds = dict[str, bool]
Saying = tuple[str, Callable[[Kinds], bool]]


def islands(rng: random.Random) -> Problem:
    """Two to four inhabitants, each of whom says one thing."""
    while True:
        people = rng.sample(NAMES, rng.randint(2, 4))
        said = {who: _saying(rng, people) for who in people}
        fits = [
            kinds
            for row in itertools.product((True, False), repeat=len(people))
            if all(said[w][1](kinds := dict(zip(people, row, strict=True))) == kinds[w] for w in people)
        ]
        if len(fits) == 1:
            break
    intro = rng.choice(
        (
            "Each inhabitant is either a knight or a knave. Knights always tell the truth, and knaves always lie.",
            "An island is inhabited only by knights and knaves. Knights always tell the truth and knaves always lie.",
        )
    )
    lines = [f"{who} says that {text}." for who, (text, _) in said.items()]
    who = rng.choice(people)
    return Problem("islands", " ".join([intro, *lines, f"Is {who} a knight?"]), "yes" if fits[0][who] else "no")


def _saying(rng: random.Random, people: list[str]) -> Saying:
    a, b = rng.sample(people, 2)
    kind, other = rng.random() < 0.5, rng.random() < 0.5
    word, word2 = ("a knight", "a knave")[not kind], ("a knight", "a knave")[not other]
    options: tuple[Saying, ...] = (
        (f"{a} is {word}", lambda k: k[a] == kind),
        (f"{a} is {word} and {b} is {word2}", lambda k: k[a] == kind and k[b] == other),
        (f"{a} is {word} or {b} is {word2}", lambda k: k[a] == kind or k[b] == other),
        (f"if {a} is {word} then {b} is {word2}", lambda k: k[a] != kind or k[b] == other),
        (f"{a} is {word} if and only if {b} is {word2}", lambda k: (k[a] == kind) == (k[b] == other)),
        (f"{a} and {b} are of the same kind", lambda k: k[a] == k[b]),
    )
    return rng.choice(options)
