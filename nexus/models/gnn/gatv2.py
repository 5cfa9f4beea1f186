"""GATv2: graph attention whose ranking of the neighbours depends on who asks.

The one idea: put the nonlinearity between the two linear maps of the score, ``a . LeakyReLU(W [h_i || h_j])``. In the
first GAT it came last, so every query ranked the keys alike ("static" attention).
Paper: Brody, Alon and Yahav 2022, "How Attentive are Graph Attention Networks?" (arXiv:2105.14491), eq. 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nexus.core.base import NexusModule, in_range
from nexus.data.graph import Graph
from nexus.models.gnn._config import AttentionModelConfig
from nexus.models.gnn._kernels import chunks, edge_softmax, neighbour_sum, pool, sum_of_edges, sum_of_out_edges

Attention = Literal["dynamic", "static"]


def gatv2_scores(left: Tensor, right: Tensor, att: Tensor, edge: Tensor | None, graph: Graph, slope: float) -> Tensor:
    """``score[e, h] = att[h] . LeakyReLU(left[src] + right[dst] + edge[e])`` (eq. 7), a few edges at a time.

    Args:
        left: (n_sources, H * C). right: (n_nodes, H * C). att: (H, C). edge: (E, H * C) or None.

    Returns:
        (E, H). No vector of an edge outlives its chunk; backward makes them again.
    """
    return _Scores.apply(left, right, att, edge, graph, slope)


def _summed(left: Tensor, right: Tensor, edge: Tensor | None, graph: Graph, part: slice) -> Tensor:
    z = left.index_select(0, graph.src[part]).add_(right.index_select(0, graph.dst[part]))
    return z if edge is None else z.add_(edge[part])


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, left: Tensor, right: Tensor, att: Tensor, edge: Tensor | None, graph: Graph, slope: float
    ) -> Tensor:
        ctx.graph, ctx.slope = graph, slope
        ctx.save_for_backward(left, right, att, edge)
        by_head = torch.block_diag(*att[:, None].unbind())  # (H, H * C): one product for all heads
        scores = left.new_empty(graph.n_edges, len(att))
        for part in chunks(graph.n_edges, left.shape[1]):
            scores[part] = F.linear(F.leaky_relu_(_summed(left, right, edge, graph, part), slope), by_head)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        left, right, att, edge = ctx.saved_tensors
        graph, slope, grad = ctx.graph, ctx.slope, grads[0]
        heads, channels = att.shape
        dz = left.new_empty(graph.n_edges, heads * channels)
        by_all = left.new_zeros(heads, heads * channels)
        for part in chunks(graph.n_edges, heads * channels):
            z, g = _summed(left, right, edge, graph, part), grad[part]
            spread = (g[:, :, None] * att).view(len(g), -1)
            torch.ops.aten.leaky_relu_backward.grad_input(spread, z, slope, False, grad_input=dz[part])
            by_all.addmm_(g.t(), F.leaky_relu_(z, slope))
        datt = by_all.view(heads, heads, channels).diagonal().t()  # of each head's own channels
        return sum_of_out_edges(dz, graph), sum_of_edges(dz, graph), datt, None if edge is None else dz, None, None


def static_scores(left: Tensor, right: Tensor, att: Tensor, edge: Tensor | None, graph: Graph, slope: float) -> Tensor:
    """The order of the first GAT (arXiv:1710.10903, eq. 3): ``LeakyReLU(att . left[src] + att . right[dst] ...)``."""
    heads = len(att)
    parts = [(t.view(len(t), heads, -1) * att).sum(-1) for t in (left, right)]
    score = parts[0].index_select(0, graph.src) + parts[1].index_select(0, graph.dst)
    if edge is not None:
        score = score + (edge.view(len(edge), heads, -1) * att).sum(-1)
    return F.leaky_relu(score, slope)


class GATv2Layer(nn.Module):
    """One layer of GATv2 (or, with ``attention="static"``, of GAT).

    Args:
        d_in: width in. d_out: width out; of each head if the heads are averaged.
        n_heads: number of heads. concat: put the heads side by side (they divide ``d_out``), or average them.
        attention: where the nonlinearity stands, see the head of this file.
        edge_dim: features of an edge; 0 for none.
        negative_slope: of the LeakyReLU.
        share_weights: one matrix for sources and targets, as in the paper's figures.
        self_loops: let every node attend to itself.
        dropout: share of attention weights set to zero in training.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        n_heads: int = 1,
        *,
        concat: bool = True,
        attention: Attention = "dynamic",
        edge_dim: int = 0,
        negative_slope: float = 0.2,
        share_weights: bool = False,
        self_loops: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if concat and d_out % n_heads:
            raise ValueError(f"n_heads={n_heads}: must divide d_out={d_out}; use a divisor, or concat=False")
        self.n_heads, self.concat, self.attention = n_heads, concat, attention
        self.negative_slope, self.self_loops, self.dropout = negative_slope, self_loops, dropout
        channels = d_out // n_heads if concat else d_out
        self.left_proj = nn.Linear(d_in, n_heads * channels)
        self.right_proj = self.left_proj if share_weights else nn.Linear(d_in, n_heads * channels)
        self.edge_proj = nn.Linear(edge_dim, n_heads * channels, bias=False) if edge_dim else None
        self.att = nn.Parameter(torch.empty(n_heads, channels))
        self.bias = nn.Parameter(torch.zeros(d_out))
        nn.init.xavier_uniform_(self.att)

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Map ``x`` (N, d_in) to (N, d_out)."""
        graph = graph.looped if self.self_loops else graph
        left, right = self.left_proj(x), self.right_proj(x)
        weight = F.dropout(self.weights(left, right, graph), self.dropout, self.training)
        y = neighbour_sum(left, graph, weight)
        if not self.concat:
            y = y.view(len(y), self.n_heads, -1).mean(1)
        return y + self.bias

    def weights(self, left: Tensor, right: Tensor, graph: Graph) -> Tensor:
        """Attention weights (E, H) of projected sources and targets; they add up to 1 in every node."""
        edge = None
        if self.edge_proj is not None:
            if graph.edge_attr is None:
                raise ValueError("the layer was made for edges with features; make the graph with edge_attr")
            edge = self.edge_proj(graph.edge_attr)
        scores = gatv2_scores if self.attention == "dynamic" else static_scores
        return edge_softmax(scores(left, right, self.att, edge, graph, self.negative_slope), graph)


@dataclass(frozen=True, kw_only=True)
class GATv2Config(AttentionModelConfig):
    """Sizes of a :class:`GATv2`; the other fields are arguments of :class:`GATv2Layer`."""

    attention: Attention = "dynamic"
    negative_slope: float = 0.2
    share_weights: bool = False
    self_loops: bool = True
    residual: bool = False

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes, one line each."""
        return [*super().faults(), *in_range(self, "negative_slope", 0, 1)]


class GATv2(NexusModule):
    """Layers with ELU between them; the heads of the last one are averaged, as in both papers."""

    config_class = GATv2Config
    config: GATv2Config

    def __init__(self, config: GATv2Config | Mapping[str, Any]) -> None:
        super().__init__(config)
        c = self.config
        widths = [c.d_in, *[c.d_model] * (c.n_layers - 1), c.d_out]
        self.layers = nn.ModuleList(
            GATv2Layer(
                a,
                b,
                c.n_heads,
                concat=i < c.n_layers - 1,
                attention=c.attention,
                edge_dim=c.edge_dim,
                negative_slope=c.negative_slope,
                share_weights=c.share_weights,
                self_loops=c.self_loops,
                dropout=c.dropout,
            )
            for i, (a, b) in enumerate(pairwise(widths))
        )

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Answer (N or G, d_out) for nodes ``x`` (N, d_in); with ``edge_dim``, ``graph.edge_attr`` is (E, edge_dim)."""
        for i, layer in enumerate(self.layers):
            y = layer(F.dropout(x, self.config.dropout, self.training), graph)
            if i < len(self.layers) - 1:
                y = F.elu(y)
            x = x + y if self.config.residual and x.shape == y.shape else y
        return pool(x, graph, self.config.pooling)
