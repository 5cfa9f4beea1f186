"""A problem with its answer, and the words that problems are made of."""

from __future__ import annotations

import random
from dataclasses import dataclass

_NAMES = "Ann Bob Carl Dora Emil Fae Gina Hugo Iris Jack Kira Liam Mona Nils Olga Paul Rosa Stan Tina Vera Walt Zoe"
NAMES = _NAMES.split()
_KINDS = """wumpus yumpus zumpus dumpus rompus numpus tumpus vumpus impus jompus gorpus shumpus lempus sterpus
grimpus lorpus brimpus"""
KINDS = _KINDS.split()
_TRAITS = """red blue kind big small cold hot shy bright dull loud quiet sour sweet bitter happy angry nice rough
young"""
TRAITS = _TRAITS.split()


@dataclass(frozen=True)
class Problem:
    """A text with a question.

    Attributes:
        answer: ``yes``, ``no``, ``unknown``, a name or number in small letters, or ``plan`` (any valid one).
        depth: number of steps that the answer takes; 0 where that means nothing.
    """

    family: str
    text: str
    answer: str
    depth: int = 0


def article(noun: str) -> str:
    """The noun with "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    """The plural of one of the nouns used here."""
    return noun + ("es" if noun.endswith("s") else "s")


def shuffled(rng: random.Random, lines: list[str]) -> list[str]:
    """The lines in another order."""
    return rng.sample(lines, len(lines))
