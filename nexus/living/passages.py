"""Passages: a taught text cut into sentences with their exact characters, and what each of them states.

The one idea: a passage is a place in a fact's text. Cutting is a pure function of the fact, so passages can always be
made anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nexus.living.facts import Fact
from nexus.living.mentions import mentioned
from nexus.living.reading import Statement, read
from nexus.living.words import MINE, sentences


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

    @property
    def read(self) -> bool:
        """Whether it is about something, and does not only mention names."""
        return any(not one.mentioned for one in self.statements)


Entry = tuple[Passage, Statement]


def cut(fact: Fact) -> Iterator[Passage]:
    """The passages of a fact, in order."""
    places = list(sentences(fact.text))
    before: Statement | None = None
    for start, end in places:
        stated = read(fact.text, start, end, before)
        before = stated[0] if stated else before
        stated = [*stated, *mentioned(fact.text, start, end, stated)]
        yield Passage(fact, start, end, tuple(stated), len(places) == 1)


def masked(passage: Passage, statement: Statement, bare: bool = False) -> str:
    """What is stated, with "someone" for the subject; `bare` leaves out what is said of it."""
    text, places = passage.fact.text, [(statement.subject_at, "someone")]
    if text[slice(*statement.subject_at)].casefold() in MINE:
        places[0] = (statement.subject_at, "someone's")
    if bare:
        places.append((statement.value_at, ""))
    made, at = "", max(statement.start, passage.start)
    for (first, last), instead in sorted(places):
        if first >= at:  # a subject in an earlier sentence has nothing to be left out here
            made, at = f"{made}{text[at:first]}{instead}", last
    return " ".join(f"{made}{text[at : passage.end]}".split()).strip(" .!")
