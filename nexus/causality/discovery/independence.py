"""Tests of conditional independence: Fisher's z for linear Gaussian data, G-squared for discrete ones."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import numpy as np

from nexus.causality.extras import need
from nexus.causality.table import Floats, Table, standardise


class Independence(Protocol):
    """Anything that gives a p-value; columns by number."""

    def p_value(self, i: int, j: int, given: Collection[int]) -> float:
        """How surprising the data are if i and j are independent given the others."""


class FisherZ:
    """Partial correlation (Fisher 1924). `values`: (n, d)."""

    def __init__(self, values: Floats) -> None:
        z = standardise(values)
        self.n, self.correlation = len(z), z.T @ z / len(z)
        self._normal = need("scipy.special").ndtr

    def p_value(self, i: int, j: int, given: Collection[int]) -> float:
        """Two-sided p-value of a zero partial correlation."""
        r = self.partial(i, j, given)
        z = np.sqrt(max(self.n - len(given) - 3, 1)) * np.arctanh(min(abs(r), 1 - 1e-12))
        return float(2 * self._normal(-z))

    def partial(self, i: int, j: int, given: Collection[int]) -> float:
        """The partial correlation."""
        if not given:
            return float(self.correlation[i, j])
        at = [i, j, *given]
        precision = np.linalg.pinv(self.correlation[np.ix_(at, at)], hermitian=True)
        return float(-precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1]))


class GSquared:
    """Likelihood-ratio test over all cells of the given variables. `values`: (n, d) codes."""

    def __init__(self, values: Floats) -> None:
        self.codes = np.column_stack([np.unique(column, return_inverse=True)[1] for column in values.T])
        self.cards = self.codes.max(0) + 1

    def p_value(self, i: int, j: int, given: Collection[int]) -> float:
        """p-value from the chi-squared distribution; cells without data do not count as degrees of freedom."""
        state, states = np.zeros(len(self.codes), dtype=np.int64), 1
        for k in given:
            state, states = state * self.cards[k] + self.codes[:, k], states * int(self.cards[k])
        a, b = int(self.cards[i]), int(self.cards[j])
        flat = (state * a + self.codes[:, i]) * b + self.codes[:, j]
        seen, flat = np.unique(flat // (a * b), return_inverse=True)[0], flat
        counts = np.stack([np.bincount(flat[flat // (a * b) == s] % (a * b), minlength=a * b) for s in seen])
        counts = counts.reshape(-1, a, b).astype(float)
        rows, columns = counts.sum(2, keepdims=True), counts.sum(1, keepdims=True)
        expected = rows * columns / counts.sum((1, 2), keepdims=True)
        inside = np.where(counts > 0, counts * np.log(np.maximum(counts, 1e-300) / np.maximum(expected, 1e-300)), 0.0)
        freedom = ((((rows > 0).sum(1) - 1).clip(0)) * ((columns > 0).sum(2) - 1).clip(0)).sum()
        return 1.0 if freedom == 0 else float(need("scipy.special").chdtrc(float(freedom), 2 * float(inside.sum())))


def suited_test(table: Table) -> Independence:
    """G-squared if every column is discrete, else Fisher's z."""
    return GSquared(table.values) if all(map(table.is_discrete, table.names)) else FisherZ(table.values)
