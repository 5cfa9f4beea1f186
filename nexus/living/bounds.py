"""Exact binomial bounds, in NumPy: the tail, Clopper and Pearson's limits, and how many errors a test forgives.

Source: Clopper and Pearson, Biometrika 26:404 (1934). The limits are found by bisection of the exact tail, so no
special function is needed and nothing is approximated but the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nexus.core.config import fault

HALVINGS = 60


def tail(k: int, n: int, p: float) -> float:
    """P(X <= k) for X ~ Binomial(n, p)."""
    if k < 0:
        return 0.0
    if k >= n or p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    i = np.arange(k + 1)
    logs = _log_factorials(n)
    terms = logs[n] - logs[i] - logs[n - i] + i * math.log(p) + (n - i) * math.log1p(-p)
    top = terms.max()
    return min(1.0, float(np.exp(top) * np.exp(terms - top).sum()))


def upper_bound(k: int, n: int, delta: float) -> float:
    """The smallest p that k successes of n rule out at level delta from above; 1 when nothing was seen."""
    return 1.0 if k >= n else _root(lambda p: tail(k, n, p) > delta)


def lower_bound(k: int, n: int, delta: float) -> float:
    """The mirror of `upper_bound`: the true share is below it with probability at most delta."""
    return 1.0 - upper_bound(n - k, n, delta)


@lru_cache(maxsize=32)
def forgiven(n: int, alpha: float, delta: float) -> NDArray[np.int64]:
    """For every number of answers 0..n the most errors with which the risk is still certified; -1: none would do.

    `upper_bound(k, m, delta) <= alpha` holds exactly for k <= forgiven[m]: both say that P(X <= k) <= delta for
    X ~ Binomial(m, alpha).
    """
    found = np.full(n + 1, -1, dtype=np.int64)
    k = -1
    for m in range(1, n + 1):
        while tail(k + 1, m, alpha) <= delta:
            k += 1
        found[m] = k
    found.setflags(write=False)
    return found


def level(name: str, value: float) -> float:
    """The value, if it can be a risk or an error probability.

    Raises:
        ValueError: it does not lie strictly between 0 and 1.
    """
    if not 0 < value < 1:
        raise ValueError(fault(name, value, "is out of range", "give a number above 0 and below 1, such as 0.05"))
    return float(value)


@lru_cache(maxsize=4)
def _log_factorial_table(size: int) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size)))])


def _log_factorials(n: int) -> NDArray[np.float64]:
    return _log_factorial_table(1 << (n + 1).bit_length())  # one table serves many n


def _root(too_low: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if too_low(middle) else (low, middle)
    return high
