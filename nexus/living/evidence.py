"""What speaks for a statement as the answer to a question, in numbers: of its own, and against all rivals.

The one idea: a question goes with a statement only if it is nearer to it than to every everyday relation that was not
taught, so nearness comes with its lead over them. How far an everyday relation is the statement's own, so that its
wordings speak for it, and how far it is a rival, is a matter of degree: sentences by other people never match one to
one. The subject's other statements are no evidence: what is taught later must not change an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nexus.living.bank import Bank, Bools, Floats
from nexus.living.closeness import Closeness
from nexus.living.relations import WEAK, akin

SHARP = 0.3  # how much of a log-likelihood ratio counts when a statement is given to everyday relations
LEAST = 1e-9  # the share of a relation that is none


@dataclass(frozen=True)
class Told:
    """Statements of one subject, without it: vectors (n, 2, d) with and without what is said, and the names of their
    relations (n)."""

    vectors: Floats
    names: tuple[frozenset[str], ...]


def evidence(closeness: Closeness, asked: Floats, told: Told, bank: Bank, without: Bools | None = None) -> Floats:
    """One row (7) a statement for the vector (d,) of a question: its closeness to the statement's mean, to the whole
    statement and to the bare one, both cosines, how near the statement or its relation is, and the lead over rivals.

    ``without``: wordings (m,) that are not looked at.
    """
    one, mean = closeness.project(asked[None])[0], closeness.project(told.vectors.mean(1))
    own = closeness.ratio(one, mean)
    whole, bare = (closeness.ratio(one, closeness.project(told.vectors[:, side])) for side in (0, 1))
    share = _shares(closeness, mean, told, bank, without)
    known = bank.nearest(closeness.ratios(one[None], bank.projected, bank.alone), without)[0]
    near = np.maximum(own, (known + np.log(share + LEAST) / SHARP).max(1))
    lead = near - (known + np.log1p(LEAST - share) / SHARP).max(1)
    return np.column_stack([own, whole, bare, told.vectors @ asked, near, lead])


def _shares(closeness: Closeness, mean: Floats, told: Told, bank: Bank, without: Bools | None) -> Floats:
    """How far (n, c) each everyday relation is that of a statement, by closeness or by name; that of requests never."""
    ratios = bank.nearest(closeness.ratios(mean, bank.projected, bank.alone), without)
    grown = np.exp(SHARP * (ratios - ratios.max(1, keepdims=True)))
    share: Floats = grown / grown.sum(1, keepdims=True)
    for row, own in enumerate(told.names):
        if own - WEAK:
            share[row, _akin(own - WEAK, bank.names)] = 1.0
    share[:, -1] = 0.0
    return share


@lru_cache(maxsize=1024)
def _akin(own: frozenset[str], others: tuple[frozenset[str], ...]) -> Bools:
    return np.array([any(akin(a, b) for a in own for b in other - WEAK) for other in others], dtype=np.bool_)
