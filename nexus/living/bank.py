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
from nexus.living.relations import NAMES, TABLE, Kind
from nexus.living.wordings import requests

NONE = -1e9  # the score of what is left out
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Embed(Protocol):
    """Makes vectors (n, d) of n texts."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.floating]: ...


@dataclass(frozen=True)
class Bank:
    """Wordings: vectors (m, d), the same projected (m, k), what is ``alone`` theirs of a ratio (m), and the relation of
    each (m), of c relations with names; the last relation has the requests that ask for no fact.

    The first relations are those of :func:`nexus.living.examples.examples`; their statements are the first rows, their
    questions the next. ``order`` and ``begins`` sort the wordings by relation.
    """

    vectors: Floats
    projected: Floats
    alone: Floats
    of: NDArray[np.int64]
    names: tuple[frozenset[str], ...]
    order: NDArray[np.int64]
    begins: NDArray[np.int64]

    def measured(self, closeness: Closeness) -> Bank:
        """The same, projected for a closeness."""
        projected = closeness.project(self.vectors)
        return replace(self, projected=projected, alone=closeness.alone(projected))

    def nearest(self, scores: Floats, without: Bools | None = None) -> Floats:
        """The largest score of each relation (n, c) out of those of all wordings (n, m), some of them left out."""
        if without is not None:
            scores = np.where(without, NONE, scores)
        made: Floats = np.maximum.reduceat(scores[:, self.order], self.begins, axis=1)
        return made


def bank(embed: Embed) -> Bank:
    """All wordings, not yet projected."""
    known = examples()
    told = embed(texts(known.entries)).reshape(len(known.entries), 2, -1).mean(1)
    asked = embed([query.whole.masked for query in known.queries])
    named = embed([_named(phrase, kind) for phrase, _, kind in TABLE])
    nothing = embed([text.replace("{s}", "someone") for text in requests()])
    return arranged(np.concatenate([told, asked, named, nothing]))


def arranged(vectors: NDArray[np.floating]) -> Bank:
    """The wordings of vectors (m, d)."""
    known, rows = examples(), np.asarray(vectors, dtype=np.float64)
    first = int(known.states[-1]) + 1
    table = [first + NAMES.index(name) for _, name, _ in TABLE]
    of = np.array([*known.states, *known.of, *table, *[first + len(NAMES)] * len(requests())], dtype=np.int64)
    told = [known.entries[known.told(n)[0]][1].relation for n in range(first)]  # other sentences stray from the name
    names = (*told, *(frozenset((name,)) for name in NAMES), frozenset[str]())
    order = np.argsort(of, kind="stable")
    return Bank(rows, rows[:, :0], rows[:, 0], of, names, order, np.flatnonzero(np.diff(of[order], prepend=-1)))


def _named(phrase: str, kind: Kind) -> str:
    return {"noun": f"someone's {phrase}", "verb": f"someone {phrase}", "turned": f"{phrase} someone"}[kind]


def texts(entries: Iterable[Entry]) -> list[str]:
    """Two texts a statement: with what is said, and without."""
    return [masked(*entry, bare=bare) for entry in entries for bare in (False, True)]
