"""Exphormer: a graph transformer that attends along few edges, yet reaches every node in few steps.

The one idea: add to the graph's own edges a random regular graph, which is an expander (it mixes as fast as the
complete graph, up to a constant), and a few virtual nodes joined to all; attention along these edges costs O(N + E).
Paper: Shirzad et al. 2023, "Exphormer: Sparse Transformers for Graphs" (arXiv:2303.06147), section 3 and eq. 1;
expanders from random permutations: Friedman 2008 (arXiv:cs/0405020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.base import NexusModule, divides, in_range, positive
from nexus.data.graph import Graph
from nexus.models.gnn._config import GraphModelConfig
from nexus.models.gnn._kernels import edge_dot, edge_softmax, edge_sum, neighbour_sum, pool
from nexus.models.gnn.gps import Norm, make_norm

LOCAL, EXPANDER, TO_VIRTUAL, FROM_VIRTUAL = range(4)
EDGE_TYPES = 4
Variant = Literal["paper", "code"]


# ---- the edges -------------------------------------------------------------------------------------------------------


def expander_edges(size: int, degree: int, generator: torch.Generator | None = None, tries: int = 20) -> Tensor:
    """A random regular graph as both directions of its edges, (2, size * degree).

    It is the union of ``degree / 2`` random cycles through all nodes. Of up to ``tries`` draws the first is taken whose
    second eigenvalue is below Friedman's ``2 sqrt(degree - 1) + 0.2``, else the best; above 1,024 nodes, where almost
    all draws are, the first. Graphs of at most ``degree + 1`` nodes become complete.

    Raises:
        ValueError: ``degree`` is odd or not positive.
    """
    if degree <= 0 or degree % 2:
        raise ValueError(f"degree={degree}: each cycle gives a node two edges; use a positive even number")
    if size <= degree + 1:
        return (1 - torch.eye(size)).nonzero().t().contiguous()
    best, least = None, math.inf
    for _ in range(tries):
        cycles = [torch.randperm(size, generator=generator) for _ in range(degree // 2)]
        pairs = torch.cat([torch.stack((c, c.roll(1))) for c in cycles], dim=1)
        pairs = torch.cat((pairs, pairs.flip(0)), dim=1)
        if size > 1024:
            return pairs
        second = second_eigenvalue(pairs, size)
        if second < least:
            best, least = pairs, second
        if second <= 2 * math.sqrt(degree - 1) + 0.2:
            break
    assert best is not None
    return best


def second_eigenvalue(edges: Tensor, size: int) -> float:
    """Second largest absolute eigenvalue of a graph's adjacency matrix: the smaller, the faster a walk mixes."""
    dense = torch.zeros(size, size, dtype=torch.float64).index_put(
        (edges[1], edges[0]), torch.ones(edges.shape[1], dtype=torch.float64), accumulate=True
    )
    return float(torch.linalg.eigvalsh(dense).abs().sort().values[-2])


def with_expander(graph: Graph, degree: int = 4, n_virtual: int = 1, seed: int = 0) -> Graph:
    """The graph with expander edges and virtual nodes, each edge marked by its kind.

    Args:
        graph: one graph or a batch; every graph of it gets its own expander and virtual nodes.
        degree: of the expander, even; 0 for none. n_virtual: virtual nodes of each graph. seed: of the draws.

    Returns:
        A graph of N + G * n_virtual nodes: the real ones first, then the virtual ones, graph by graph. Its ``node_ptr``
        covers the real ones.
    """
    generator = torch.Generator().manual_seed(seed)
    parts, kinds = [graph.edge_index], [LOCAL]
    if degree:
        sizes, starts = graph.node_ptr.diff().tolist(), graph.node_ptr[:-1].tolist()
        drawn = [expander_edges(n, degree, generator) + start for n, start in zip(sizes, starts, strict=True)]
        parts.append(torch.cat(drawn, dim=1).to(graph.src.device))
        kinds.append(EXPANDER)
    nodes = torch.arange(graph.n_nodes, device=graph.src.device)
    for i in range(n_virtual):
        virtual = graph.n_nodes + graph.graph_of_node * n_virtual + i
        parts += [torch.stack((nodes, virtual)), torch.stack((virtual, nodes))]
        kinds += [TO_VIRTUAL, FROM_VIRTUAL]
    kind = torch.cat([torch.full((p.shape[1],), k, device=p.device) for p, k in zip(parts, kinds, strict=True)])
    total = graph.n_nodes + graph.n_graphs * n_virtual
    return Graph.from_edges(torch.cat(parts, dim=1), total, edge_type=kind, node_ptr=graph.node_ptr)


# ---- attention along the edges ---------------------------------------------------------------------------------------


class ExphormerAttention(nn.Module):
    """Attention along edges of several kinds: ``softmax over j of sum of q_i * k_j * e_ij / sqrt(head_dim)`` (eq. 1).

    Args:
        d_model: width in and out. n_heads: number of heads; divides ``d_model``.
        n_edge_types: kinds of edges, each with a learnt vector.
        variant: "paper" is the softmax; "code" is what the authors' code does instead: scores are clamped to [-5, 5],
            and 1e-6 is added to the normaliser.
        bias: on queries, keys, values and edges.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_edge_types: int = EDGE_TYPES,
        variant: Variant = "paper",
        bias: bool = False,
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"n_heads={n_heads}: must divide d_model={d_model}; use a divisor, for example 1")
        self.n_heads, self.head_dim, self.variant = n_heads, d_model // n_heads, variant
        self.qkv_proj = nn.Linear(d_model, 3 * d_model, bias=bias)
        self.edge_embed = nn.Embedding(n_edge_types, d_model)
        self.edge_proj = nn.Linear(d_model, d_model, bias=bias)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Map ``x`` (N, d_model) to the same shape; a node without edges gets 0."""
        q, k, v = self.qkv_proj(x).chunk(3, dim=-1)
        return neighbour_sum(v, graph, self.weights(q, k, graph))

    def weights(self, q: Tensor, k: Tensor, graph: Graph) -> Tensor:
        """Attention weights (E, H).

        There are few kinds of edges, so each key is multiplied by the vector of each kind once, at the nodes; an edge
        then picks the row of its source and kind, and nothing of the width of the model is made for an edge.
        """
        kinds = self.edge_proj(self.edge_embed.weight)  # (kinds, D)
        table = (kinds[:, None] * k).flatten(0, 1)  # (kinds * N, D)
        scores = edge_dot(q, table, graph.by_type(len(kinds)), self.n_heads) / math.sqrt(self.head_dim)
        if self.variant == "paper":
            return edge_softmax(scores, graph)
        raised = scores.clamp(-5, 5).exp()
        return raised / (edge_total(raised, graph) + 1e-6)


def edge_total(values: Tensor, graph: Graph) -> Tensor:
    """For every edge, the sum of the values (E, H) of all edges into its target."""
    return edge_sum(values, graph).index_select(0, graph.dst)


class ExphormerLayer(nn.Module):
    """Attention and a feed-forward part, each with residual and norm after it.

    Args:
        d_model, n_heads, n_edge_types, variant: those of :class:`ExphormerAttention`.
        norm: "batch" (paper) or "layer". dropout: after each part.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_edge_types: int = EDGE_TYPES,
        variant: Variant = "paper",
        norm: Norm = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention = ExphormerAttention(d_model, n_heads, n_edge_types, variant)
        self.attention_norm = make_norm(norm, d_model)
        self.mlp = nn.Sequential(
            nn.Linear(d_model, 2 * d_model), nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * d_model, d_model)
        )
        self.norm = make_norm(norm, d_model)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Map ``x`` (N, d_model), virtual nodes included, to the same shape."""
        x = self.attention_norm(x + F.dropout(self.attention(x, graph), self.dropout, self.training))
        out: Tensor = self.norm(x + self.mlp(x))
        return out


# ---- the model -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ExphormerConfig(GraphModelConfig):
    """Sizes of an :class:`Exphormer`.

    Attributes:
        n_heads, variant, norm: those of :class:`ExphormerLayer`.
        n_virtual: virtual nodes of a graph, each with a learnt start.
        encoding_dim: features of a position that are given beside the node's own; 0 for none.
    """

    n_heads: int = 4
    n_virtual: int = 1
    encoding_dim: int = 0
    variant: Variant = "paper"
    norm: Norm = "batch"

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes, one line each."""
        found = [*super().faults(), *positive(self, "n_heads"), *divides(self, "n_heads", "d_model")]
        return [*found, *in_range(self, "n_virtual", 0), *in_range(self, "encoding_dim", 0)]

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """A model that builds and trains on a CPU in under a second."""
        sizes: dict[str, object] = {"d_in": 6, "d_model": 8, "d_out": 3, "n_layers": 2, "n_heads": 2}
        return cls(**{**sizes, **changes})  # type: ignore[arg-type]


class Exphormer(NexusModule):
    """Layers over a graph made by :func:`with_expander`, and an MLP that answers for the real nodes or for graphs."""

    config_class = ExphormerConfig
    config: ExphormerConfig

    def __init__(self, config: ExphormerConfig | Mapping[str, Any]) -> None:
        super().__init__(config)
        c = self.config
        self.encoder = nn.Linear(c.d_in + c.encoding_dim, c.d_model)
        self.virtual = nn.Parameter(torch.randn(c.n_virtual, c.d_model) * 0.02) if c.n_virtual else None
        kinds = EDGE_TYPES if c.n_virtual else EDGE_TYPES - 2
        self.layers = nn.ModuleList(
            ExphormerLayer(c.d_model, c.n_heads, kinds, c.variant, c.norm, c.dropout) for _ in range(c.n_layers)
        )
        self.head = nn.Sequential(nn.Linear(c.d_model, c.d_model), nn.ReLU(), nn.Linear(c.d_model, c.d_out))

    def forward(self, x: Tensor, graph: Graph, encoding: Tensor | None = None) -> Tensor:
        """Answer for nodes or graphs.

        Args:
            x: (N, d_in) features of the real nodes. graph: from :func:`with_expander`, with ``n_virtual`` as here.
            encoding: (N, encoding_dim).

        Returns:
            (N or G, d_out).

        Raises:
            ValueError: the graph has another number of virtual nodes, or an encoding is missing or too much.
        """
        c, real = self.config, len(graph.graph_of_node)
        if graph.edge_type is None or graph.n_nodes - real != graph.n_graphs * c.n_virtual:
            raise ValueError(f"make the graph with with_expander(graph, degree, n_virtual={c.n_virtual})")
        if (encoding is None) != (c.encoding_dim == 0):
            raise ValueError(f"encoding_dim={c.encoding_dim}: pass an encoding exactly if it is not 0")
        h = self.encoder(x if encoding is None else torch.cat((x, encoding), dim=-1))
        if self.virtual is not None:
            h = torch.cat((h, self.virtual.repeat(graph.n_graphs, 1)))
        for layer in self.layers:
            h = layer(h, graph)
        out: Tensor = self.head(pool(h[:real], graph, c.pooling))
        return out
