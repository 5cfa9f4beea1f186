"""Everyday relations as people state them and ask for them: the examples that meaning is learnt from.

The one idea: what two sentences have in common is learnt from relations, not for relations. The examples tell how
wordings of one thing differ and how things differ; the relations that a user teaches need not be among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

FILES: tuple[str, ...] = ("wordings.txt", "common.txt")  # the second has the relations that the benchmark asks for
NONE = "-"  # the name of the block of questions that ask for no fact


@dataclass(frozen=True)
class Wording:
    """One relation: the kind of its subjects, values, sentences with {s} and {v}, questions with {s}."""

    name: str
    kind: str
    values: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]


@lru_cache
def wordings() -> tuple[Wording, ...]:
    """The relations, in the order of the file."""
    return tuple(
        Wording(name, kind, values, (lines[0], *_more(lines)), tuple(line for line in lines[1:] if line[0] != "+"))
        for name, kind, values, lines in _blocks()
        if name != NONE
    )


@lru_cache
def requests() -> tuple[str, ...]:
    """What people say of a name that asks for no fact."""
    return next(tuple(lines) for name, _, _, lines in _blocks() if name == NONE)


def _more(lines: list[str]) -> list[str]:
    return [line[1:].strip() for line in lines if line[0] == "+"]


def _blocks() -> Iterator[tuple[str, str, tuple[str, ...], list[str]]]:
    blocks = [Path(__file__).with_name(file).read_text(encoding="utf-8").split("\n\n")[1:] for file in FILES]
    for block in chain.from_iterable(blocks):
        head, *lines = block.strip().splitlines()
        name, kind, values = (part.strip() for part in head.removeprefix("#").split("|"))
        yield name, kind, tuple(value.strip() for value in values.split(";")), lines
