"""A graph, or a batch of graphs, as edges sorted by their target.

The one idea: sorting once turns every later sum over neighbours into a sum over one contiguous run of edges (compressed
sparse rows), which needs no atomic adds and no message per edge in memory. Sorting is by radix, so that it pays for
itself in the first sum. Whatever follows (offsets, the reverse order for gradients) is computed on first use and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

RADIX = 1 << 15  # so many integers or more torch sorts by radix on a CPU, fewer by comparing


@dataclass(frozen=True, eq=False)
class Graph:
    """Directed edges ``src -> dst`` in ascending order of ``dst``; make one with :meth:`from_edges`.

    Attributes:
        src, dst: (E,) source and target of each edge, int64.
        n_nodes: number of targets.
        n_sources: number of sources; equal to ``n_nodes`` except in a sampled block, where the targets come first.
        order: (E,) where each edge stood in the list that the graph was made from.
        edge_attr: (E, D) features of the edges, in the order of the graph; None for none.
        edge_type: (E,) kind of each edge, int64; None where there is one kind.
        node_ptr: (G + 1,) first node of each graph of a batch.
    """

    src: Tensor
    dst: Tensor
    n_nodes: int
    n_sources: int
    order: Tensor
    node_ptr: Tensor
    edge_attr: Tensor | None = None
    edge_type: Tensor | None = None

    @classmethod
    def from_edges(
        cls,
        edge_index: Tensor,
        n_nodes: int,
        edge_attr: Tensor | None = None,
        edge_type: Tensor | None = None,
        *,
        n_sources: int | None = None,
        node_ptr: Tensor | None = None,
    ) -> Graph:
        """Sort a list of edges.

        Args:
            edge_index: (2, E) integers, row 0 the sources, row 1 the targets.
            n_nodes: number of nodes (targets).
            edge_attr, edge_type: features (E, D) or (E,), and kinds (E,), in the order of ``edge_index``.
            n_sources: number of sources where it differs.
            node_ptr: first node of each graph of a batch, and ``n_nodes``; None for one graph.

        Raises:
            ValueError: a wrong shape or type, or a node that does not exist.
        """
        n_sources = n_nodes if n_sources is None else n_sources
        _check_edges(edge_index, n_nodes, n_sources)
        for name, given in (("edge_attr", edge_attr), ("edge_type", edge_type)):
            if given is not None and len(given) != edge_index.shape[1]:
                raise ValueError(f"{name} has {len(given)} rows for {edge_index.shape[1]} edges; give one for each")
        if edge_attr is not None and edge_attr.dim() == 1:
            edge_attr = edge_attr[:, None]
        dst, order = _sorted(edge_index[1].long(), n_nodes)
        if node_ptr is None:
            node_ptr = torch.tensor([0, n_nodes], device=dst.device)
        attr, kind = (None if t is None else t.index_select(0, order) for t in (edge_attr, edge_type))
        src = edge_index[0].long().index_select(0, order)
        return cls(src, dst, n_nodes, n_sources, order, node_ptr, attr, kind)

    @classmethod
    def batch(cls, graphs: Sequence[Graph]) -> Graph:
        """Several graphs side by side as one, without edges between them; sorted graphs stay sorted."""
        if not graphs:
            raise ValueError("graphs is empty; give at least one")
        if any(g.n_nodes != g.n_sources for g in graphs):
            raise ValueError("a sampled block cannot be batched; batch whole graphs")
        ptr = torch.cat([g.node_ptr[:-1] + start for g, start in zip(graphs, _starts(graphs), strict=True)])
        nodes = sum(g.n_nodes for g in graphs)
        return cls(
            src=torch.cat([g.src + start for g, start in zip(graphs, _starts(graphs), strict=True)]),
            dst=torch.cat([g.dst + start for g, start in zip(graphs, _starts(graphs), strict=True)]),
            n_nodes=nodes,
            n_sources=nodes,
            order=torch.cat([g.order + start for g, start in zip(graphs, _starts(graphs, edges=True), strict=True)]),
            node_ptr=torch.cat((ptr, ptr.new_tensor([nodes]))),
            edge_attr=_joined([g.edge_attr for g in graphs], "edge_attr"),
            edge_type=_joined([g.edge_type for g in graphs], "edge_type"),
        )

    # ---- what follows from the edges ---------------------------------------------------------------------------------

    @property
    def n_edges(self) -> int:
        """Number of directed edges."""
        return len(self.src)

    @property
    def n_graphs(self) -> int:
        """Number of graphs in the batch."""
        return len(self.node_ptr) - 1

    @property
    def edge_index(self) -> Tensor:
        """(2, E) sources and targets, in the order of the graph."""
        return torch.stack((self.src, self.dst))

    @cached_property
    def degree(self) -> Tensor:
        """(N,) number of edges that end in each node."""
        return self.ptr.diff()

    @cached_property
    def inverse_degree(self) -> Tensor:
        """(N, 1) 1 over the number of edges that end in each node, 1 where there is none; float64."""
        return 1 / self.degree.clamp(min=1).double().unsqueeze(1)

    def shares(self, dtype: torch.dtype, back: bool = False) -> Tensor:
        """(E, 1) weights that make a sum a mean: 1 over the number of edges into the target of each edge.

        Args:
            back: in the order of :attr:`transposed`, for the mean's gradient.
        """
        if (dtype, back) not in self._shares:
            targets = self.transposed.src if back else self.dst
            self._shares[dtype, back] = self.inverse_degree.to(dtype).index_select(0, targets)
        return self._shares[dtype, back]

    @cached_property
    def _shares(self) -> dict[tuple[torch.dtype, bool], Tensor]:
        return {}

    @cached_property
    def ptr(self) -> Tensor:
        """(N + 1,) first edge of each node: those of node i are ``ptr[i] : ptr[i + 1]``."""
        return _first_edges(self.dst, self.n_nodes)

    @cached_property
    def graph_of_node(self) -> Tensor:
        """(N,) which graph of the batch each node belongs to."""
        return torch.repeat_interleave(torch.arange(self.n_graphs, device=self.src.device), self.node_ptr.diff())

    @cached_property
    def transposed(self) -> Graph:
        """The same edges turned round and sorted anew; its ``order`` refers to the edges of this graph."""
        source, order = _sorted(self.src, self.n_sources)
        whole = torch.tensor([0, self.n_sources], device=source.device)
        return Graph(self.dst.index_select(0, order), source, self.n_sources, self.n_nodes, order, whole)

    @cached_property
    def _bags(self) -> dict[int, tuple[Tensor, Tensor]]:
        return {}

    def bags(self, n_heads: int = 1) -> tuple[Tensor, Tensor]:
        """Rows to sum and offsets, for a table of ``n_heads`` blocks of sources: int32, for ``torch.embedding_bag``.

        Bag ``h * N + i`` holds the edges of node i, and its rows are ``h * n_sources + src``.
        """
        if n_heads not in self._bags:
            kind = torch.int32 if n_heads * max(self.n_edges, self.n_sources) < 2**31 else torch.int64
            rows, first = self.src.to(kind), self.ptr.to(kind)
            if n_heads > 1:
                heads = torch.arange(n_heads, dtype=kind, device=self.src.device)[:, None]
                starts = (first[:-1] + heads * self.n_edges).flatten()
                rows, first = (rows + heads * self.n_sources).flatten(), torch.cat((starts, n_heads * first[-1:]))
            self._bags[n_heads] = rows, first
        return self._bags[n_heads]

    @cached_property
    def edge_rows(self) -> Tensor:
        """(E,) 0 ... E - 1 as the bags want it: for sums over values that edges have."""
        return torch.arange(self.n_edges, dtype=self.bags()[0].dtype, device=self.src.device)

    @cached_property
    def order_rows(self) -> Tensor:
        """(E,) :attr:`order` as the bags want it: for sums over values that stand in the order before sorting."""
        return self.order.to(self.bags()[0].dtype)

    def by_type(self, n_types: int) -> Graph:
        """The graph whose sources are pairs of kind and source, numbered ``kind * n_sources + source``.

        Raises:
            ValueError: the edges have no kinds, or one that is not below ``n_types``.
        """
        if self.edge_type is None:
            raise ValueError("the edges have no kinds; make the graph with edge_type")
        if n_types not in self._typed:
            if self.n_edges and int(self.edge_type.max()) >= n_types:
                raise ValueError(f"edge_type goes up to {int(self.edge_type.max())}; there are {n_types} kinds")
            source = self.edge_type * self.n_sources + self.src
            self._typed[n_types] = replace(self, src=source, n_sources=n_types * self.n_sources)
        return self._typed[n_types]

    @cached_property
    def _typed(self) -> dict[int, Graph]:
        return {}

    @cached_property
    def padded(self) -> tuple[Tensor, Tensor | None, int]:
        """Every graph of the batch at one length: slot of each node in the flat (G * longest) layout, mask, longest.

        The mask (G, longest) is True where a node is; None where all graphs are equally large.
        """
        sizes = self.node_ptr.diff()
        longest = int(sizes.max())
        place = torch.arange(len(self.graph_of_node), device=self.src.device) - self.node_ptr[self.graph_of_node]
        mask = torch.arange(longest, device=self.src.device) < sizes[:, None]
        return self.graph_of_node * longest + place, None if bool(mask.all()) else mask, longest

    # ---- other graphs made of this one -------------------------------------------------------------------------------

    def undirected(self) -> Graph:
        """The graph with every edge in both directions, doubles and loops taken out; features are not kept."""
        pairs = torch.cat((self.edge_index, self.edge_index.flip(0)), dim=1)
        pairs = torch.unique(pairs[:, pairs[0] != pairs[1]], dim=1)
        return Graph.from_edges(pairs, self.n_nodes, node_ptr=self.node_ptr)

    @cached_property
    def looped(self) -> Graph:
        """The graph with one loop at every node; loops that are there are replaced.

        A new loop has as features the mean of those of the edges that end in its node (0 where there is none).
        """
        stay = (self.src != self.dst).nonzero()[:, 0]
        src, dst = self.src.index_select(0, stay), self.dst.index_select(0, stay)
        nodes, count = torch.arange(self.n_nodes, device=src.device), len(stay)
        end = _first_edges(dst, self.n_nodes)[1:]
        # Nothing is sorted: before an edge into node i stand i loops, and the loop of i stands behind the edges into i.
        place = torch.cat((torch.arange(count, device=src.device) + dst, end + nodes))
        order = torch.empty_like(place).index_copy(0, place, torch.arange(len(place), device=src.device))
        attr = None
        if self.edge_attr is not None:
            kept = self.edge_attr.index_select(0, stay)
            total = kept.new_zeros(self.n_nodes, kept.shape[1]).index_add(0, dst, kept)
            mean = total / end.diff(prepend=end.new_zeros(1)).clamp(min=1).to(kept)[:, None]
            attr = torch.cat((kept, mean)).index_select(0, order)
        src, dst = (torch.cat((t, nodes)).index_select(0, order) for t in (src, dst))
        return Graph(src, dst, self.n_nodes, self.n_sources, order, self.node_ptr, attr)

    def permuted(self, place: Tensor) -> Graph:
        """The same graph with node i renamed ``place[i]`` (one graph, not a batch)."""
        pairs = place[self.edge_index]
        return Graph.from_edges(pairs, self.n_nodes, self.edge_attr, self.edge_type)

    def astype(self, dtype: torch.dtype) -> Graph:
        """The same graph with edge features of another floating type."""
        return self if self.edge_attr is None else replace(self, edge_attr=self.edge_attr.to(dtype))


def _sorted(nodes: Tensor, n_nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes (E,) in ascending order and where each stood; equal ones keep their order.

    By radix, because nodes are small integers: torch takes a byte of its type at a time, so the type is the narrowest;
    for few edges numpy, which takes two bytes at a time.
    """
    if nodes.device.type != "cpu" or len(nodes) >= RADIX:
        narrow = next(t for t in (torch.int16, torch.int32, torch.int64) if n_nodes - 1 <= torch.iinfo(t).max)
        values, order = nodes.to(narrow).sort(stable=True)
        return values.to(nodes.dtype), order
    left = nodes.numpy()
    found = np.argsort(left.astype(np.uint16), kind="stable")
    for bits in range(16, (n_nodes - 1).bit_length(), 16):
        found = found[np.argsort((left[found] >> bits).astype(np.uint16), kind="stable")]
    order = torch.from_numpy(found)
    return nodes.index_select(0, order), order


def _first_edges(dst: Tensor, n_nodes: int) -> Tensor:
    """(N + 1,) where the edges of each node begin among sorted targets (E,); and their number."""
    first: Tensor = torch.ops.aten._convert_indices_from_coo_to_csr(dst, n_nodes)
    return first


def _starts(graphs: Sequence[Graph], edges: bool = False) -> list[int]:
    """First node (or edge) of each graph when they stand side by side."""
    sizes = [g.n_edges if edges else g.n_nodes for g in graphs]
    return list(accumulate(sizes[:-1], initial=0))


def _joined(parts: Sequence[Tensor | None], name: str) -> Tensor | None:
    given = [part for part in parts if part is not None]
    if len(given) not in (0, len(parts)):
        raise ValueError(f"{len(given)} of {len(parts)} graphs have {name}; give it to all or to none")
    return torch.cat(given) if given else None


def _check_edges(edge_index: Tensor, n_nodes: int, n_sources: int) -> None:
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.is_floating_point():
        kind = f"{tuple(edge_index.shape)} of {edge_index.dtype}"
        raise ValueError(f"edge_index is {kind}; give integers of shape (2, edges), sources above targets")
    if not edge_index.shape[1]:
        return
    for name, row, size in (("source", edge_index[0], n_sources), ("target", edge_index[1], n_nodes)):
        least, most = row.aminmax()
        if int(least) < 0 or int(most) >= size:
            raise ValueError(f"edge_index has a {name} outside 0 ... {size - 1}; renumber the nodes or give more")
