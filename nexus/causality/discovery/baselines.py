"""What every discovered graph is held against: no edges at all, a random order, and orders that need no causality.

If sorting by variance (Reisach et al. 2021) or by R-squared (Reisach et al. 2023) does as well as a method, the data
leak the order and the method has shown nothing.
"""

from __future__ import annotations

import numpy as np

from nexus.causality.discovery.order_search import graph_of
from nexus.causality.discovery.scores import GaussianScore
from nexus.causality.graphs import Bools
from nexus.causality.table import Floats, standardise


def baseline_graphs(values: Floats, seed: int = 0, penalty: float = 2.0) -> dict[str, Bools]:
    """Name -> (d, d) matrix. The orders' parents are chosen as our own methods choose them."""
    d = values.shape[1]
    free = ~np.eye(d, dtype=bool)
    score = GaussianScore(values, free, np.zeros_like(free), penalty)
    orders = {
        "random order": np.random.default_rng(seed).permutation(d),
        "variance order": values.var(0).argsort(kind="stable"),
        "R2 order": r_squared(values).argsort(kind="stable"),
    }
    return {"empty graph": np.zeros_like(free)} | {n: graph_of(score, order.tolist()) for n, order in orders.items()}


def r_squared(values: Floats) -> Floats:
    """(d,): share of each column's variance that all the others explain."""
    z = standardise(values)
    precision = np.linalg.pinv(z.T @ z / len(z), hermitian=True)
    return 1 - 1 / np.maximum(precision.diagonal(), 1.0)


def sortability(measure: Floats, graph: Bools) -> float:
    """Share of directed paths along which the measure grows: 0.5 says nothing about the order, 1 gives it away."""
    right = total = 0.0
    reach, step = graph.astype(float), graph.astype(float)
    while step.any():
        for i, j in np.argwhere(step > 0):
            total += 1
            right += float(measure[i] < measure[j]) + 0.5 * float(measure[i] == measure[j])
        step = ((step @ graph) > 0).astype(float)
        reach += step
        if reach.max() > len(graph) ** 2:
            break
    return right / total if total else 0.5
