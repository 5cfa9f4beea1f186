"""BOSS, best order score search: moves each variable to its best place in the causal order until nothing gets better.

Given an order, grow-shrink finds each variable's parents among its predecessors; the search is over orders only
(Andrews, Ramsey, Sanchez-Romero, Camchong & Kummerfeld 2023, arXiv:2310.17679).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nexus.causality.discovery.scores import Score
from nexus.causality.graphs import Bools

TOLERANCE = 1e-9


def boss(score: Score, starts: int = 3, seed: int = 0, first: Sequence[int] = ()) -> Bools:
    """The DAG of the best order that was found.

    Args:
        score: local costs.
        starts: how many orders to begin from; one search each, the best result wins.
        seed: of the starting orders.
        first: the first starting order; by default the columns' own.

    Returns:
        (d, d), [i, j] for i -> j.
    """
    rng = np.random.default_rng(seed)
    d = len(score.allowed)
    best: tuple[float, list[int]] = (np.inf, [])
    for start in range(starts):
        order = (list(first) or list(range(d))) if start == 0 else rng.permutation(d).tolist()
        best = min(best, _improve(score, order), key=lambda found: found[0])
    return graph_of(score, best[1])


def graph_of(score: Score, order: Sequence[int]) -> Bools:
    """The parents of each variable among its predecessors, as a matrix."""
    matrix, before = np.zeros((len(order), len(order)), dtype=bool), 0
    for node in order:
        matrix[list(score.best(node, before)[1]), node] = True
        before |= 1 << node
    return matrix


def _improve(score: Score, order: list[int]) -> tuple[float, list[int]]:
    total, before = _total(score, order), np.inf
    while total < before - TOLERANCE:
        before = total
        for node in list(order):
            total, order = _best_place(score, order, node, total)
    return total, order


def _total(score: Score, order: Sequence[int]) -> float:
    total, before = 0.0, 0
    for node in order:
        total += score.best(node, before)[0]
        before |= 1 << node
    return total


def _best_place(score: Score, order: list[int], node: int, current: float) -> tuple[float, list[int]]:
    """Move one variable to where the whole order costs least."""
    rest = [other for other in order if other != node]
    own, alone, after, before = [], [], [], 0
    for other in rest:
        own.append(score.best(node, before)[0])
        alone.append(score.best(other, before)[0])  # `node` comes later
        after.append(score.best(other, before | 1 << node)[0])  # `node` came earlier
        before |= 1 << other
    own.append(score.best(node, before)[0])
    totals = np.array(own) + np.r_[0, np.cumsum(alone)] + np.r_[np.cumsum(after[::-1])[::-1], 0]
    place = int(totals.argmin())
    if totals[place] >= current - TOLERANCE:
        return current, order
    return float(totals[place]), [*rest[:place], node, *rest[place:]]
