"""The bank: every everyday wording that a question is compared with, as vectors.

The one idea: a sentence that states a relation, a question that asks for it and a phrase of the table that names it are
all wordings of that relation. Those of the relation that was taught speak for it, all others are its rivals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nexus.living.closeness import Closeness
from nexus.living.examples import examples
from nexus.living.passages import Entry, masked
from nexus.living.relations import NAMED, NAMES, TABLE, Kind
from nexus.living.wordings import requests

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Embed(Protocol):
    """Makes vectors (n, d) of n texts."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.floating]: ...


@dataclass(frozen=True)
class Bank:
    """Wordings: vectors (m, d), the same projected (m, k), and the relation of each, -1 where none is asked for. Vectors
    at length one that stand for relations (a), where those of each relation (c) begin, and its names.

    The first relations are those of :func:`nexus.living.examples.examples`; their statements are the first rows, their
    questions the next.
    """

    vectors: Floats
    projected: Floats
    of: NDArray[np.int64]
    anchors: Floats
    begins: NDArray[np.int64]
    names: tuple[frozenset[str], ...]

    def measured(self, closeness: Closeness) -> Bank:
        """The same, projected for a closeness."""
        return replace(self, projected=closeness.project(self.vectors))


def bank(embed: Embed) -> Bank:
    """All wordings, not yet projected."""
    known = examples()
    told = means(embed(texts(known.entries)))
    asked = embed([query.whole.masked for query in known.queries])
    named = embed([_named(phrase, kind) for phrase, _, kind in TABLE])
    nothing = embed([text.replace("{s}", "someone") for text in requests()])
    vectors = np.concatenate([told, asked, named, nothing])
    first = [next(n for n, (_, one, _) in enumerate(TABLE) if one == name) for name in NAMES]
    return arranged(vectors, np.concatenate([told, named[first]]))


def arranged(vectors: NDArray[np.floating], anchors: NDArray[np.floating]) -> Bank:
    """The wordings of vectors (m, d) and of one vector a statement and a relation of the table (a, d)."""
    known, rows = examples(), np.asarray(vectors, dtype=np.float64)
    first, begins = int(known.states[-1]) + 1, np.flatnonzero(np.diff(known.states, prepend=-1))
    of = [*known.states, *known.of, *(first + NAMES.index(name) for _, name, _ in TABLE), *[-1] * len(requests())]
    begins = np.concatenate([begins, len(known.entries) + np.arange(len(NAMES))])
    told: list[frozenset[str]] = [frozenset() for _ in range(first)]
    for place, (_, statement) in zip(known.states, known.entries, strict=True):
        told[place] |= statement.relation & NAMED
    names = (*told, *(frozenset((name,)) for name in NAMES))
    return Bank(rows, rows[:, :0], np.array(of, dtype=np.int64), unit(np.asarray(anchors, float)), begins, names)


def _named(phrase: str, kind: Kind) -> str:
    return {"noun": f"someone's {phrase}", "verb": f"someone {phrase}", "turned": f"{phrase} someone"}[kind]


def texts(entries: Iterable[Entry]) -> list[str]:
    """Two texts a statement, whose vectors' mean stands for it: with what is said, and without."""
    return [masked(*entry, bare=bare) for entry in entries for bare in (False, True)]


def means(vectors: NDArray[np.floating]) -> Floats:
    """The vectors (n, d) of statements out of those of their texts (2n, d)."""
    paired: Floats = np.asarray(vectors, dtype=np.float64).reshape(-1, 2, vectors.shape[-1]).mean(1)
    return paired


def unit(vectors: Floats) -> Floats:
    """Vectors (n, d) at length one."""
    made: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return made
