"""PC: removes an edge when some set separates its ends, then directs colliders and what follows from them.

The order-independent form: within a level the neighbours are those at its start (Colombo & Maathuis 2014).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np

from nexus.causality.discovery.independence import Independence
from nexus.causality.equivalence import meek
from nexus.causality.graphs import Bools

Separators = Mapping[tuple[int, int], tuple[int, ...]]


def find_skeleton(test: Independence, possible: Bools, alpha: float, most: int) -> tuple[Bools, Separators]:
    """The joined pairs, and for each pair that is not joined the set that separated it.

    Args:
        test: of conditional independence.
        possible: (d, d), symmetric, the pairs that may be joined.
        alpha: a pair stays joined while every p-value is below it.
        most: largest size of a separating set.
    """
    joined, separators = possible.copy(), {}
    for size in range(most + 1):
        beside = joined.copy()
        if not (beside.sum(0) > size).any():
            break
        for i, j in np.argwhere(np.triu(beside)).tolist():
            found = _separator(test, beside, i, j, size, alpha)
            if found is not None:
                joined[i, j] = joined[j, i] = False
                separators[i, j] = separators[j, i] = found
    return joined, separators


def _separator(test: Independence, beside: Bools, i: int, j: int, size: int, alpha: float) -> tuple[int, ...] | None:
    for one, other in ((i, j), (j, i)):
        pool = [k for k in np.flatnonzero(beside[one]).tolist() if k != other]
        for given in itertools.combinations(pool, size):
            if test.p_value(i, j, given) > alpha:
                return given
    return None


def pc(test: Independence, allowed: Bools, required: Bools, alpha: float = 0.01, most: int = 4) -> Bools:
    """The CPDAG's matrix; required edges stay, forbidden directions are turned round."""
    joined, separators = find_skeleton(test, allowed | allowed.T, alpha, most)
    joined |= required | required.T
    m = joined & ~required.T
    m &= ~(joined & ~allowed & allowed.T)  # one direction forbidden: the other is left
    for a, c, b in unshielded(joined):
        if c not in separators.get((a, b), (c,)) and m[a, c] and m[b, c]:
            m[c, a] = m[c, b] = False
    return meek(m)


def unshielded(joined: Bools) -> list[tuple[int, int, int]]:
    """All (a, c, b) with a - c - b, a and b not joined, a < b."""
    found = []
    for c in range(len(joined)):
        for a, b in itertools.combinations(np.flatnonzero(joined[c]).tolist(), 2):
            if not joined[a, b]:
                found.append((a, c, b))
    return found
