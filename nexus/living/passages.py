"""Passages: a taught text cut into sentences with their exact characters, and what each of them states.

The one idea: a passage is a place in a fact's text. Cutting is a pure function of the fact, so passages can always be
made anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nexus.living.facts import Fact
from nexus.living.reading import Statement, read
from nexus.living.words import sentences


@dataclass(frozen=True, eq=False)
class Passage:
    """Characters [start:end] of a fact's text, and the statements in them; `alone` if the fact is nothing else."""

    fact: Fact
    start: int
    end: int
    statements: tuple[Statement, ...]
    alone: bool

    @property
    def text(self) -> str:
        """The passage itself."""
        return self.fact.text[self.start : self.end]


Entry = tuple[Passage, Statement]


def cut(fact: Fact) -> Iterator[Passage]:
    """The passages of a fact, in order."""
    places = list(sentences(fact.text))
    before: Statement | None = None
    for start, end in places:
        stated = read(fact.text, start, end, before)
        before = stated[0] if stated else before
        yield Passage(fact, start, end, tuple(stated), len(places) == 1)
