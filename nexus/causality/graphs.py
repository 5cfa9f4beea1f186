"""Causal graphs: an ADMG has directed edges (causes) and bidirected ones (a common cause nobody measured).

A DAG is an ADMG without bidirected edges. Text form: ``"z -> x, z -> y, x -> y, x <-> y"``; a lone name is a node.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
_EDGE = re.compile(r"^\s*(?P<a>[^<>,;\s][^<>,;]*?)\s*(?P<arrow><->|->|<-)\s*(?P<b>[^<>,;\s][^<>,;]*?)\s*$")


class CycleError(ValueError):
    """A graph that was to be acyclic has a cycle; `cycle` holds its nodes, the first one again at the end."""

    def __init__(self, cycle: Sequence[str]) -> None:
        self.cycle = tuple(cycle)
        way = " -> ".join(self.cycle)
        super().__init__(f"Causal graph is not DAG: it has the cycle {way}; remove or turn one of these edges")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.cycle,)


class ADMG:
    """Acyclic directed mixed graph over named variables.

    Args:
        names: the variables, in the order of the matrices.
        directed: (d, d), `directed[i, j]` is the edge i -> j.
        bidirected: (d, d), symmetric; None means there are none.

    Raises:
        CycleError: the directed part has a cycle (a loop included); the message names it.
        ValueError: names occur twice, or the shapes do not fit.
    """

    def __init__(self, names: Sequence[str], directed: Any, bidirected: Any = None) -> None:
        self.names = tuple(str(name) for name in names)
        self.directed = np.array(directed, dtype=bool)
        size = (len(self.names), len(self.names))
        self.bidirected = np.zeros(size, bool) if bidirected is None else np.array(bidirected, dtype=bool)
        self._check(size)
        self.index = {name: i for i, name in enumerate(self.names)}
        self.directed.setflags(write=False)
        self.bidirected.setflags(write=False)

    def _check(self, size: tuple[int, int]) -> None:
        if len(set(self.names)) != len(self.names):
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise ValueError(f"names = {self.names!r} holds {twice} twice; give each variable a name of its own")
        if self.directed.shape != size or self.bidirected.shape != size:
            raise ValueError(f"a graph over {size[0]} names needs matrices of shape {size}, got {self.directed.shape}")
        if (self.bidirected != self.bidirected.T).any() or self.bidirected.diagonal().any():
            raise ValueError("bidirected is not symmetric with an empty diagonal; set both [i, j] and [j, i]")
        if cycle := find_cycle(self.directed):
            raise CycleError([self.names[i] for i in cycle])

    # ---- building -------------------------------------------------------------------------------------------------

    @classmethod
    def from_edges(
        cls,
        directed: Iterable[tuple[str, str]] = (),
        bidirected: Iterable[tuple[str, str]] = (),
        names: Sequence[str] = (),
    ) -> Self:
        """Build from pairs of names; `names` fixes an order and adds nodes without edges."""
        directed, bidirected = list(directed), list(bidirected)
        every = tuple(dict.fromkeys([*names, *(n for pair in [*directed, *bidirected] for n in pair)]))
        place = {name: i for i, name in enumerate(every)}
        a, b = np.zeros((2, len(every), len(every)), dtype=bool)
        for cause, effect in directed:
            a[place[cause], place[effect]] = True
        for one, other in bidirected:
            b[place[one], place[other]] = b[place[other], place[one]] = True
        return cls(every, a, b)

    @classmethod
    def parse(cls, text: str, names: Sequence[str] = ()) -> Self:
        """Read ``"a -> b, b <-> c, d"``; parts are divided by commas, semicolons or new lines.

        Raises:
            ValueError: a part is not an edge; the message gives its place and the forms that are known.
        """
        directed, bidirected, seen = [], [], list(names)
        for place, part in enumerate((p for p in re.split(r"[,;\n]", text) if p.strip()), start=1):
            match = _EDGE.match(part)
            if match is None:
                if re.search(r"[<>]|--", part):
                    raise ValueError(f"graph, part {place}: {part.strip()!r} is not an edge; write a -> b or a <-> b")
                seen.append(part.strip())
                continue
            pair = (match["a"], match["b"])
            seen += pair  # the variables keep the order in which they are named
            if match["arrow"] == "<->":
                bidirected.append(pair)
            else:
                directed.append(pair if match["arrow"] == "->" else pair[::-1])
        return cls.from_edges(directed, bidirected, seen)

    # ---- looking --------------------------------------------------------------------------------------------------

    @property
    def edges(self) -> list[tuple[str, str]]:
        """Directed edges as (cause, effect)."""
        return [(self.names[i], self.names[j]) for i, j in np.argwhere(self.directed)]

    @property
    def confounded(self) -> list[tuple[str, str]]:
        """Bidirected edges, each once."""
        return [(self.names[i], self.names[j]) for i, j in np.argwhere(np.triu(self.bidirected))]

    def parents(self, of: Collection[str]) -> frozenset[str]:
        """All direct causes of the named variables (they may be among them)."""
        return self._named(self.directed[:, self._at(of)].any(1))

    def children(self, of: Collection[str]) -> frozenset[str]:
        """All direct effects of the named variables."""
        return self._named(self.directed[self._at(of)].any(0))

    def ancestors(self, of: Collection[str]) -> frozenset[str]:
        """The named variables and all that cause them."""
        return self._closure(of, self.parents)

    def descendants(self, of: Collection[str]) -> frozenset[str]:
        """The named variables and all that they cause."""
        return self._closure(of, self.children)

    def districts(self) -> list[frozenset[str]]:
        """The components that bidirected edges connect (c-components), in the order of their first variable."""
        left, found = dict.fromkeys(self.names), []
        while left:
            first = next(iter(left))
            part = self._closure([first], lambda of: self._named(self.bidirected[self._at(of)].any(0)))
            found.append(part)
            left = {name: None for name in left if name not in part}
        return found

    def order(self) -> tuple[str, ...]:
        """A topological order; ties follow the order of the names."""
        return tuple(self.names[i] for i in topological_order(self.directed))

    def _closure(self, of: Collection[str], step: Any) -> frozenset[str]:
        reached: frozenset[str] = frozenset(of)
        while new := step(reached) - reached:
            reached |= new
        return reached

    def _at(self, of: Collection[str]) -> list[int]:
        unknown = sorted(set(of) - self.index.keys())
        if unknown:
            raise ValueError(f"the graph has no variable {unknown[0]!r}; it has {', '.join(self.names)}")
        return [self.index[name] for name in of]

    def _named(self, mask: Any) -> frozenset[str]:
        return frozenset(self.names[i] for i in np.flatnonzero(mask))

    # ---- changing (always a new graph) ------------------------------------------------------------------------------

    def subgraph(self, keep: Collection[str]) -> ADMG:
        """The graph among the variables in `keep`; what the others do is forgotten, not projected."""
        self._at(keep)
        at = [i for i, name in enumerate(self.names) if name in keep]
        return ADMG([self.names[i] for i in at], self.directed[np.ix_(at, at)], self.bidirected[np.ix_(at, at)])

    def without_into(self, of: Collection[str]) -> ADMG:
        """The graph after an intervention on `of`: no edge points into them, bidirected ones included."""
        a, b, at = self.directed.copy(), self.bidirected.copy(), self._at(of)
        a[:, at] = b[:, at] = b[at] = False
        return ADMG(self.names, a, b)

    def without_out_of(self, of: Collection[str]) -> ADMG:
        """The graph without the edges that leave `of`."""
        a = self.directed.copy()
        a[self._at(of)] = False
        return ADMG(self.names, a, self.bidirected)

    def __eq__(self, other: object) -> bool:
        """The same edges between the same names, in whatever order the names stand."""
        if not isinstance(other, ADMG):
            return NotImplemented
        same_names = set(self.names) == set(other.names)
        return same_names and set(self.edges) == set(other.edges) and _pairs(self) == _pairs(other)

    def __hash__(self) -> int:
        return hash((frozenset(self.names), frozenset(self.edges), frozenset(_pairs(self))))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        parts = [f"{a} -> {b}" for a, b in self.edges] + [f"{a} <-> {b}" for a, b in self.confounded]
        touched = {name for pair in [*self.edges, *self.confounded] for name in pair}
        return ", ".join([*parts, *(name for name in self.names if name not in touched)])


class DAG(ADMG):
    """Directed acyclic graph: every common cause is among the variables."""

    def _check(self, size: tuple[int, int]) -> None:
        super()._check(size)
        if self.bidirected.any():
            raise ValueError("a DAG has no bidirected edges; use ADMG for graphs with unmeasured common causes")


def _pairs(graph: ADMG) -> set[frozenset[str]]:
    return {frozenset(pair) for pair in graph.confounded}


def find_cycle(directed: Bools) -> list[int]:
    """The nodes of one shortest cycle, the first one again at the end; empty if there is none."""
    best: list[int] = []
    if len(topological_order(directed)) == len(directed):
        return best
    for start in range(len(directed)):
        way = _shortest_way_back(directed, start)
        if way and (not best or len(way) < len(best)):
            best = way
    return best


def _shortest_way_back(directed: Bools, start: int) -> list[int]:
    before: dict[int, int] = {}
    front = [start]
    while front:
        ahead = []
        for node in front:
            for child in np.flatnonzero(directed[node]).tolist():
                if child == start:
                    way = [start, node] if node != start else [start]
                    while way[-1] != start:
                        way.append(before[way[-1]])
                    return [*way, start][::-1] if node == start else way[::-1]
                if child not in before:
                    before[child] = node
                    ahead.append(child)
        front = ahead
    return []


def topological_order(directed: Bools) -> list[int]:
    """Causes before effects; shorter than the number of nodes if there is a cycle."""
    waiting = directed.sum(0).astype(int)
    order: list[int] = []
    ready = np.flatnonzero(waiting == 0).tolist()
    while ready:
        node = ready.pop(0)
        order.append(node)
        for child in np.flatnonzero(directed[node]).tolist():
            waiting[child] -= 1
            if waiting[child] == 0:
                ready = sorted([*ready, child])
    return order


def as_graph(graph: Any, names: Sequence[str] = ()) -> ADMG:
    """Whatever a user may mean by a graph: one of ours, text, edge pairs, a mapping of causes, or a matrix.

    A matrix has [i, j] != 0 for the edge i -> j.

    Raises:
        CycleError: it has a cycle.
        ValueError: it is none of these.
    """
    if isinstance(graph, ADMG):
        return graph
    if isinstance(graph, str):
        return ADMG.parse(graph, names)
    if isinstance(graph, Mapping):
        return ADMG.from_edges([(cause, str(e)) for cause, effects in graph.items() for e in effects], names=names)
    if hasattr(graph, "detach"):
        graph = graph.detach().cpu().numpy()
    matrix = np.asarray(graph)
    if matrix.ndim == 2 and matrix.dtype.kind in "bif" and matrix.shape[0] == matrix.shape[1]:
        if matrix.dtype.kind == "f" and not np.isfinite(matrix).all():
            raise ValueError("graph holds NaN or infinite weights; give finite numbers, 0 for no edge")
        return ADMG(names or [f"x{i}" for i in range(len(matrix))], matrix != 0)
    if matrix.ndim == 2 and matrix.shape[1] == 2 and matrix.dtype.kind in "US":
        return ADMG.from_edges([(str(a), str(b)) for a, b in matrix], names=names)
    raise ValueError(f"graph = {graph!r:.80} is not a graph; give text such as 'a -> b', pairs, or a square matrix")
