"""m-separation: which independences a graph implies (d-separation, if it is a DAG)."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator

import numpy as np

from nexus.causality.graphs import ADMG


def separated(graph: ADMG, x: Collection[str], y: Collection[str], given: Collection[str] = ()) -> bool:
    """True if every path between `x` and `y` is blocked by `given`.

    Checked in the augmented graph over the ancestors: two variables are neighbours there if a path of colliders joins
    them, which is the case within each district and its parents (Richardson 2003, Theorem 1).

    Raises:
        ValueError: the sets overlap, or name a variable that is not in the graph.
    """
    x, y, given = frozenset(x), frozenset(y), frozenset(given)
    if x & y or (x | y) & given:
        raise ValueError(f"x = {sorted(x)}, y = {sorted(y)}, given = {sorted(given)} overlap; keep them apart")
    part = graph.subgraph(graph.ancestors(x | y | given))
    cliques = [district | part.parents(district) for district in part.districts()]
    reached, front = set(x), set(x)
    while front:
        beside = {n for clique in cliques if clique & front for n in clique}
        front = beside - reached - given
        reached |= front
    return not reached & y


def implied_independences(graph: ADMG, most: int = 3) -> Iterator[tuple[str, str, frozenset[str]]]:
    """For each pair that can be separated: the pair and a smallest set (up to `most` variables) that does it."""
    joined = graph.directed | graph.directed.T | graph.bidirected
    for i, j in np.argwhere(np.triu(~joined, 1)):
        a, b = graph.names[i], graph.names[j]
        pool = sorted(graph.ancestors([a, b]) - {a, b})  # if any set separates, one among the ancestors does
        for size in range(min(most, len(pool)) + 1):
            found = next((s for s in itertools.combinations(pool, size) if separated(graph, [a], [b], s)), None)
            if found is not None:
                yield a, b, frozenset(found)
                break
