"""What speaks for a statement as the answer to a question, in numbers: of its own, and against all rivals.

The one idea: a question goes with a statement only if it is nearer to it than to every everyday relation that was not
taught, so every nearness comes with its lead over them. Wordings that are known for the statement's own relation speak
for it. The subject's other statements are no evidence: what is taught later must not change an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nexus.living.bank import Bank, Bools, Floats, unit
from nexus.living.closeness import Closeness
from nexus.living.relations import WEAK, akin

SAME = 0.85  # the cosine from which two statements state the same relation and are no rivals


@dataclass(frozen=True)
class Told:
    """Statements of one subject, without it: vectors (n, d) and the names of their relations (n)."""

    vectors: Floats
    names: tuple[frozenset[str], ...]


def evidence(closeness: Closeness, asked: Floats, told: Told, bank: Bank, without: Bools | None = None) -> Floats:
    """One row (6) a statement for the vector (d,) of a question: how near it is or its relation's wordings are, the
    lead over rivals, and how near it is by itself; by cosine, then by closeness.

    ``without``: wordings (m,) that are not looked at.
    """
    same = _same(told, bank.anchors, bank.names)
    speaks = np.where(bank.of >= 0, same[:, bank.of], False)  # (n, m)
    rivals = ~speaks
    if without is not None:
        speaks, rivals = speaks & ~without, rivals & ~without
    one = closeness.project(asked[None])[0]
    columns: list[Floats] = []
    for ours, theirs in (
        (told.vectors @ asked, bank.vectors @ asked),
        (closeness.ratio(one, closeness.project(told.vectors)), closeness.ratio(one, bank.projected)),
    ):
        near = np.maximum(ours, _best(theirs, speaks))
        columns += [near, near - _best(theirs, rivals), ours]
    return np.column_stack(columns)


def _best(scores: Floats, among: Bools) -> Floats:
    """The largest of scores (m,) in each row of among (n, m); the least of all where there is none."""
    made: Floats = np.where(among, scores, scores.min()).max(1)
    return made


def _same(told: Told, anchors: Floats, names: tuple[frozenset[str], ...]) -> Bools:
    """Which relations (c) are those of the statements (n): by vector or by name."""
    made: Bools = unit(told.vectors) @ anchors.T >= SAME
    for row, own in enumerate(told.names):
        if own - WEAK:
            made[row] |= _akin(own - WEAK, names)
    return made


@lru_cache(maxsize=1024)
def _akin(own: frozenset[str], others: tuple[frozenset[str], ...]) -> Bools:
    return np.array([any(akin(a, b) for a in own for b in other - WEAK) for other in others], dtype=np.bool_)
