"""Local scores with grow-shrink parents: the best causes of a variable among those that may come before it.

A score is a cost: n log(residual variance), or minus twice the log-likelihood, plus `penalty` log(n) a parameter (BIC;
Schwarz 1978). Lower is better. Equivalent DAGs cost the same under the Gaussian and the discrete one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np

from nexus.causality.graphs import Bools
from nexus.causality.table import Floats, standardise

Choice = tuple[float, tuple[int, ...]]
INFINITE = 1e18


class Score(Protocol):
    """What an order search needs."""

    allowed: Bools

    def best(self, node: int, before: int) -> Choice:
        """Cost and parents of `node`, chosen among the variables whose bits are set in `before`."""


class _Remembering:
    """Keeps what was worked out: an order search asks the same question many times."""

    def __init__(self, allowed: Bools, required: Bools) -> None:
        self.allowed, self.required = allowed, required
        self._known: dict[tuple[int, int], Choice] = {}

    def best(self, node: int, before: int) -> Choice:
        """Cost and parents of `node`, chosen among the variables whose bits are set in `before`."""
        key = (node, before)
        if key not in self._known:
            must = np.flatnonzero(self.required[:, node]).tolist()
            late = any(not before >> parent & 1 for parent in must)
            self._known[key] = (INFINITE, ()) if late else self._search(node, self._pool(node, before), must)
        return self._known[key]

    def _pool(self, node: int, before: int) -> Bools:
        bits = np.array([before >> i & 1 for i in range(len(self.allowed))], dtype=bool)
        return bits & self.allowed[:, node]

    def _search(self, node: int, pool: Bools, must: Sequence[int]) -> Choice:
        raise NotImplementedError


class GaussianScore(_Remembering):
    """Linear Gaussian BIC, all candidates of a step at once by the sweep operator (Goodnight 1979).

    Args:
        values: (n, d).
        allowed, required: background knowledge.
        penalty: multiplies log(n) for each edge.
        touched: (n, d), True where a value was set by an intervention; such rows say nothing about that variable's
            causes and are left out of its score (Hauser & Bühlmann 2012).
    """

    def __init__(
        self, values: Floats, allowed: Bools, required: Bools, penalty: float = 2.0, touched: Bools | None = None
    ) -> None:
        super().__init__(allowed, required)
        d = values.shape[1]
        rows = [np.ones(len(values), bool) if touched is None else ~touched[:, i] for i in range(d)]
        if touched is None or not touched.any():
            shared = _correlation(values)
            self.moments = [(shared, len(values))] * d
        else:
            self.moments = [(_correlation(values[r]), int(r.sum())) for r in rows]
        self.penalty = penalty

    def _search(self, node: int, pool: Bools, must: Sequence[int]) -> Choice:
        matrix, n = self.moments[node]
        m, price = matrix.copy(), self.penalty * np.log(n) / n
        chosen = list(must)
        for k in chosen:
            _sweep(m, k, 1.0)
        open_ = pool.copy()
        open_[chosen] = False
        while open_.any():
            explained = m[:, node] ** 2 / np.maximum(m.diagonal() * m[node, node], 1e-12)
            gain = np.where(open_, -np.log1p(-np.minimum(explained, 1 - 1e-12)), -1.0)
            k = int(gain.argmax())
            if gain[k] <= price:
                break
            _sweep(m, k, 1.0)
            chosen.append(k)
            open_[k] = False
        self._shrink(m, node, chosen, must, price)
        return n * (np.log(max(m[node, node], 1e-12)) + price * len(chosen)), tuple(sorted(chosen))

    @staticmethod
    def _shrink(m: Floats, node: int, chosen: list[int], must: Sequence[int], price: float) -> None:
        while loose := [k for k in chosen if k not in must]:
            loss = [np.log1p(m[k, node] ** 2 / (-m[k, k] * m[node, node])) for k in loose]
            if min(loss) >= price:
                return
            k = loose[int(np.argmin(loss))]
            _sweep(m, k, -1.0)
            chosen.remove(k)


def _correlation(values: Floats) -> Floats:
    z = standardise(values)
    return z.T @ z / len(z)


def _sweep(m: Floats, k: int, sign: float) -> None:
    """Regress everything on variable k (sign 1), or undo that (sign -1), in place."""
    pivot, row = m[k, k], m[k].copy()
    m -= np.outer(row, row / pivot)
    m[k] = m[:, k] = sign * row / pivot
    m[k, k] = -1.0 / pivot


class AdditiveScore(_Remembering):
    """BIC of additive regressions on smooth functions of the parents (Bühlmann, Peters & Ernest 2014, CAM).

    Not the same for equivalent DAGs: with additive noise and curved mechanisms the directions are identified.
    """

    def __init__(
        self,
        values: Floats,
        allowed: Bools,
        required: Bools,
        penalty: float = 1.0,
        touched: Bools | None = None,
        degree: int = 5,
    ) -> None:
        super().__init__(allowed, required)
        self.degree, self.penalty, d = degree, penalty, values.shape[1]
        features = np.concatenate([smooth_basis(standardise(values)[:, i], degree) for i in range(d)], axis=1)
        whole = (features.T @ features / len(values), len(values))
        self.moments = [whole] * d
        if touched is not None and touched.any():
            kept = [features[~touched[:, i]] for i in range(d)]
            centred = [rows - rows.mean(0) for rows in kept]
            self.moments = [(rows.T @ rows / len(rows), len(rows)) for rows in centred]

    def _group(self, k: int) -> slice:
        return slice(k * self.degree, (k + 1) * self.degree)

    def _search(self, node: int, pool: Bools, must: Sequence[int]) -> Choice:
        n = self.moments[node][1]
        price = self.penalty * self.degree * np.log(n) / n
        chosen = list(must)
        open_ = [k for k in np.flatnonzero(pool).tolist() if k not in chosen]
        left = self._rss(node, chosen)
        while open_:
            trials = [self._rss(node, [*chosen, k]) for k in open_]
            best = int(np.argmin(trials))
            if np.log(left / trials[best]) <= price:
                break
            left = trials[best]
            chosen.append(open_.pop(best))
        for k in [c for c in chosen if c not in must]:
            without = self._rss(node, [c for c in chosen if c != k])
            if np.log(without / left) < price:
                chosen.remove(k)
                left = without
        return n * (np.log(left) + price * len(chosen)), tuple(sorted(chosen))

    def _rss(self, node: int, chosen: Sequence[int]) -> float:
        gram, target = self.moments[node][0], node * self.degree
        if not chosen:
            return float(gram[target, target])
        at = np.concatenate([np.arange(len(gram))[self._group(k)] for k in chosen])
        cross = gram[at, target]
        inner = gram[np.ix_(at, at)] + 1e-6 * np.eye(len(at))
        return max(float(gram[target, target] - cross @ np.linalg.solve(inner, cross)), 1e-9)


def smooth_basis(x: Floats, degree: int) -> Floats:
    """(n, degree): x itself, then Legendre polynomials of its rank, made orthonormal; every column has mean 0."""
    rank = 2 * (x.argsort().argsort() + 0.5) / len(x) - 1
    curves = np.polynomial.legendre.legvander(rank, degree)[:, 2:]
    columns = np.column_stack([x, curves])
    q, r = np.linalg.qr(columns - columns.mean(0))
    return q * np.sign(r.diagonal()) * np.sqrt(len(x))


class DiscreteScore(_Remembering):
    """Multinomial BIC; columns hold codes."""

    def __init__(self, values: Floats, allowed: Bools, required: Bools, penalty: float = 1.0) -> None:
        super().__init__(allowed, required)
        self.codes = np.column_stack([np.unique(column, return_inverse=True)[1] for column in values.T])
        self.cards = self.codes.max(0) + 1
        self.penalty = penalty
        self._costs: dict[tuple[int, tuple[int, ...]], float] = {}

    def _search(self, node: int, pool: Bools, must: Sequence[int]) -> Choice:
        chosen = list(must)
        open_ = [k for k in np.flatnonzero(pool).tolist() if k not in chosen]
        cost = self.cost(node, chosen)
        while open_:
            trials = [self.cost(node, [*chosen, k]) for k in open_]
            best = int(np.argmin(trials))
            if trials[best] >= cost:
                break
            cost = trials[best]
            chosen.append(open_.pop(best))
        for k in [c for c in chosen if c not in must]:
            rest = [c for c in chosen if c != k]
            if self.cost(node, rest) < cost:
                chosen, cost = rest, self.cost(node, rest)
        return cost, tuple(sorted(chosen))

    def cost(self, node: int, parents: Collection[int]) -> float:
        """Minus twice the log-likelihood of the node given its parents, plus the penalty."""
        key = (node, tuple(sorted(parents)))
        if key not in self._costs:
            self._costs[key] = self._cost(*key)
        return self._costs[key]

    def _cost(self, node: int, parents: tuple[int, ...]) -> float:
        state, states = np.zeros(len(self.codes), dtype=np.int64), 1
        for k in parents:
            state, states = state * self.cards[k] + self.codes[:, k], states * int(self.cards[k])
        card = int(self.cards[node])
        if states > len(self.codes):  # more cells than rows: no such table can be estimated
            return INFINITE
        counts = np.bincount(state * card + self.codes[:, node], minlength=states * card).reshape(states, card)
        total = np.maximum(counts.sum(1, keepdims=True), 1)
        loglik = float((counts * np.log(np.maximum(counts, 1) / total)).sum())
        return -2 * loglik + self.penalty * np.log(len(self.codes)) * states * (card - 1)
