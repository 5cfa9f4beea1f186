"""Markov equivalence: what data without interventions can tell about a DAG, and distances between graphs.

A CPDAG keeps the edges that all equivalent DAGs agree on as directed ones and leaves the others undirected. Matrices:
`m[i, j] and not m[j, i]` is i -> j, both set is i - j.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from nexus.causality.graphs import ADMG, DAG, Bools, find_cycle


class CPDAG:
    """A class of equivalent DAGs, or a part of one that more knowledge has narrowed down.

    Args:
        names: the variables.
        matrix: (d, d) as described above.
    """

    def __init__(self, names: Sequence[str], matrix: Any) -> None:
        self.names = tuple(names)
        self.matrix = np.array(matrix, dtype=bool)
        self.matrix.setflags(write=False)

    @property
    def edges(self) -> list[tuple[str, str]]:
        """Edges whose direction is identified, as (cause, effect)."""
        return [(self.names[i], self.names[j]) for i, j in np.argwhere(self.matrix & ~self.matrix.T)]

    @property
    def undirected(self) -> list[tuple[str, str]]:
        """Edges whose direction the data leave open, each once."""
        return [(self.names[i], self.names[j]) for i, j in np.argwhere(np.triu(self.matrix & self.matrix.T))]

    def a_member(self) -> DAG:
        """One DAG of the class (Dor & Tarsi 1992).

        Raises:
            ValueError: no DAG fits, because the edges contradict each other.
        """
        return DAG(self.names, consistent_extension(self.matrix))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CPDAG):
            return NotImplemented
        return self.names == other.names and bool((self.matrix == other.matrix).all())

    def __hash__(self) -> int:
        return hash((self.names, self.matrix.tobytes()))

    def __str__(self) -> str:
        parts = [f"{a} -> {b}" for a, b in self.edges] + [f"{a} - {b}" for a, b in self.undirected]
        return ", ".join(parts) or "no edges"

    def __repr__(self) -> str:
        return f"CPDAG({str(self)!r})"


def skeleton(matrix: Bools) -> Bools:
    """Who is joined to whom, whatever the direction."""
    return matrix | matrix.T


def cpdag_of(graph: DAG, targets: Collection[Collection[str]] = ()) -> CPDAG:
    """The class of a DAG; with intervention targets the smaller class that such data tell apart.

    An edge between a target and a variable outside that target is identified (Hauser & Bühlmann 2012).
    """
    matrix = graph.directed
    fixed = colliders(matrix)
    for target in targets:
        inside = np.isin(graph.names, list(target))
        fixed |= matrix & (inside[:, None] != inside[None, :])
    return CPDAG(graph.names, meek(_directed(skeleton(matrix), fixed)))


def colliders(matrix: Bools) -> Bools:
    """The edges of all a -> c <- b where a and b are not joined."""
    joined, found = skeleton(matrix), np.zeros_like(matrix)
    for c in range(len(matrix)):
        parents = np.flatnonzero(matrix[:, c] & ~matrix[c])
        apart = ~joined[np.ix_(parents, parents)] & ~np.eye(len(parents), dtype=bool)
        found[parents[apart.any(1)], c] = True
    return found


def _directed(joined: Bools, fixed: Bools) -> Bools:
    return joined & ~fixed.T


def meek(matrix: Bools) -> Bools:
    """Directs what follows from the directed edges (Meek 1995, rules 1 to 4), until nothing more follows."""
    m = matrix.copy()
    while True:
        arrow, line, joined = m & ~m.T, m & m.T, skeleton(m)
        for a, b in np.argwhere(line):
            if _follows(arrow, line, joined, a, b):
                m[b, a] = False
                break
        else:
            return m


def _follows(arrow: Bools, line: Bools, joined: Bools, a: int, b: int) -> bool:
    """Whether a - b must be a -> b."""
    if (arrow[:, a] & ~joined[:, b] & (np.arange(len(arrow)) != b)).any():  # R1: c -> a - b
        return True
    if (arrow[a] & arrow[:, b]).any():  # R2: a -> c -> b
        return True
    middle = np.flatnonzero(line[a] & arrow[:, b])  # R3: a - c -> b, a - d -> b, c and d not joined
    if any(not joined[c, d] for i, c in enumerate(middle) for d in middle[i + 1 :]):
        return True
    ends = arrow[:, b]  # R4: a - d -> c -> b with a joined to c, d and b not joined
    return any((line[a] & arrow[:, c] & ~joined[:, b]).any() for c in np.flatnonzero(ends & joined[a]))


def consistent_extension(matrix: Bools) -> Bools:
    """A DAG with the same edges, the same directed ones and no new collider (Dor & Tarsi 1992)."""
    m, result = matrix.copy(), matrix & ~matrix.T
    left = list(range(len(m)))
    while left:
        sink = next((v for v in left if _is_sink(m, v)), None)
        if sink is None:
            raise ValueError("no DAG fits these edges; drop an edge or a required direction")
        result[np.flatnonzero(m[:, sink]), sink] = True
        m[sink] = m[:, sink] = False
        left.remove(sink)
    return result


def _is_sink(m: Bools, v: int) -> bool:
    if (m[v] & ~m[:, v]).any():
        return False
    joined = skeleton(m)
    beside, lines = np.flatnonzero(joined[v]), np.flatnonzero(m[v] & m[:, v])
    return all(joined[u, w] for u in lines for w in beside if u != w)


def extend(matrix: Bools) -> Bools:
    """As `consistent_extension`; where none exists, the lines are directed in the nodes' order instead.

    Estimated graphs may contradict themselves; a DAG is wanted all the same, and never one with a cycle.
    """
    try:
        return consistent_extension(matrix)
    except ValueError:
        result = np.zeros_like(matrix)
        arrows = np.argwhere(matrix & ~matrix.T).tolist()
        lines = np.argwhere(np.triu(matrix & matrix.T)).tolist()
        for a, b in [*arrows, *lines]:
            result[a, b] = True
            if find_cycle(result):
                result[a, b] = False
        return result


def markov_equivalent(one: DAG, other: DAG) -> bool:
    """True if both imply the same independences (Verma & Pearl 1990)."""
    return set(one.names) == set(other.names) and cpdag_of(one) == cpdag_of(reordered(other, one.names))


def reordered(graph: DAG, names: Sequence[str]) -> DAG:
    """The same graph with its variables in another order."""
    at = [graph.index[name] for name in names]
    return DAG(names, graph.directed[np.ix_(at, at)])


# ---- distances ------------------------------------------------------------------------------------------------------


def shd(one: Any, other: Any) -> int:
    """Structural Hamming distance: pairs of variables between which the two graphs differ in any way."""
    a, b = as_matrix(one), as_matrix(other)
    return int(np.triu((a != b) | (a.T != b.T)).sum())


def half_shd(estimate: Any, truth: Any) -> float:
    """As `shd`, but an undirected edge where the truth has a directed one counts as half an error."""
    a, b = as_matrix(estimate), as_matrix(truth)
    open_ = (a & a.T) & (b ^ b.T)
    return shd(a, b) - 0.5 * int(np.triu(open_).sum())


def as_matrix(graph: Any) -> Bools:
    """The matrix of a DAG, CPDAG or matrix."""
    if isinstance(graph, ADMG):
        return graph.directed
    return graph.matrix if isinstance(graph, CPDAG) else np.asarray(graph).astype(bool)
