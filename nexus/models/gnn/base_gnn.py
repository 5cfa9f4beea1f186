"""The base graph network: message passing in which the weights of the messages are multi-head attention.

The one idea: the transformer's attention, ``softmax(q_i . k_j / sqrt(d))``, restricted to the edges of the graph, with
the features of an edge added to key and value, and a learnt gate that mixes the result with the node itself.
Papers: Shi et al. 2021, "Masked Label Prediction" (UniMP, arXiv:2009.03509), eq. 3 to 6; Dwivedi and Bresson 2021, "A
Generalization of Transformer Networks to Graphs" (arXiv:2012.09699).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.base import NexusModule
from nexus.data.graph import Graph
from nexus.models.gnn._config import AttentionModelConfig
from nexus.models.gnn._kernels import edge_dot, edge_softmax, neighbour_sum, pool, sum_edges_by_head


class GraphAttention(nn.Module):
    """Multi-head attention over the edges of a graph (UniMP eq. 3 to 5).

    Args:
        d_in: width in. d_out: width out; of each head if the heads are averaged.
        n_heads: number of heads. concat: put the heads side by side (they divide ``d_out``), or average them.
        edge_dim: features of an edge; 0 for none.
        gated: mix with the node itself by a learnt gate (eq. 5); without it the two are added.
        dropout: share of attention weights set to zero in training.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        n_heads: int = 1,
        *,
        concat: bool = True,
        edge_dim: int = 0,
        gated: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if concat and d_out % n_heads:
            raise ValueError(f"n_heads={n_heads}: must divide d_out={d_out}; use a divisor, or concat=False")
        self.n_heads, self.concat, self.dropout = n_heads, concat, dropout
        self.head_dim = d_out // n_heads if concat else d_out
        inner = n_heads * self.head_dim
        self.qkv_proj = nn.Linear(d_in, 3 * inner)  # one product instead of three
        self.edge_proj = nn.Linear(edge_dim, inner, bias=False) if edge_dim else None
        self.skip_proj = nn.Linear(d_in, d_out)
        self.gate_proj = nn.Linear(3 * d_out, 1, bias=False) if gated else None

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Map ``x`` (N, d_in) to (N, d_out)."""
        q, k, v = self.qkv_proj(x).chunk(3, dim=-1)
        weight = F.dropout(self.weights(q, k, graph), self.dropout, self.training)
        y = neighbour_sum(v, graph, weight)  # eq. 4
        if self.edge_proj is not None:
            y = y + self._edge_values(weight, graph)
        if not self.concat:
            y = y.view(len(y), self.n_heads, -1).mean(1)
        return self.mixed(y, self.skip_proj(x))

    def weights(self, q: Tensor, k: Tensor, graph: Graph) -> Tensor:
        """Attention weights (E, H), eq. 3: ``softmax over j of q_i . (k_j + e_ij) / sqrt(head_dim)``."""
        scores = edge_dot(q, k, graph, self.n_heads)
        if self.edge_proj is not None:
            scores = scores + self._edge_scores(q, graph)
        return edge_softmax(scores / math.sqrt(self.head_dim), graph)

    def mixed(self, y: Tensor, own: Tensor) -> Tensor:
        """What came from the neighbours and the node itself, weighed by the gate (eq. 5)."""
        if self.gate_proj is None:
            return y + own
        gate = torch.sigmoid(self.gate_proj(torch.cat((y, own, y - own), dim=-1)))
        return gate * own + (1 - gate) * y

    # The edge's key and value are W a with few features a, so W is moved to where it costs less: into the query for the
    # scores (q . W a = W^T q . a), behind the sum for the values (sum of w W a = W sum of w a).

    def _edge_scores(self, q: Tensor, graph: Graph) -> Tensor:
        attr, weight = self._edges(graph)
        moved = torch.einsum("nhc,hca->nha", q.view(len(q), self.n_heads, -1), weight)  # (N, H, A)
        return (moved.index_select(0, graph.dst) @ attr[:, :, None]).squeeze(-1)

    def _edge_values(self, weight: Tensor, graph: Graph) -> Tensor:
        attr, projection = self._edges(graph)
        summed = sum_edges_by_head(weight, attr, graph)  # (N, H, A)
        return torch.einsum("nha,hca->nhc", summed, projection).flatten(1)

    def _edges(self, graph: Graph) -> tuple[Tensor, Tensor]:
        if graph.edge_attr is None:
            raise ValueError("the layer was made for edges with features; make the graph with edge_attr")
        assert self.edge_proj is not None
        return graph.edge_attr, self.edge_proj.weight.view(self.n_heads, self.head_dim, -1)


@dataclass(frozen=True, kw_only=True)
class BaseGNNConfig(AttentionModelConfig):
    """Sizes of a :class:`BaseGNN`; ``gated`` is that of :class:`GraphAttention`."""

    gated: bool = True


class BaseGNN(NexusModule):
    """UniMP's stack: attention, layer norm and ReLU (eq. 5); the last layer averages its heads (eq. 6)."""

    config_class = BaseGNNConfig
    config: BaseGNNConfig

    def __init__(self, config: BaseGNNConfig | Mapping[str, Any]) -> None:
        super().__init__(config)
        c = self.config
        widths = [c.d_in, *[c.d_model] * (c.n_layers - 1), c.d_out]
        self.layers = nn.ModuleList(
            GraphAttention(
                a,
                b,
                c.n_heads,
                concat=i < c.n_layers - 1,
                edge_dim=c.edge_dim,
                gated=c.gated,
                dropout=c.dropout,
            )
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(c.d_model) for _ in range(c.n_layers - 1))

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Answer (N or G, d_out) for nodes ``x`` (N, d_in); with ``edge_dim``, ``graph.edge_attr`` is (E, edge_dim)."""
        for layer, norm in zip(self.layers, self.norms, strict=False):
            x = F.dropout(F.relu(norm(layer(x, graph))), self.config.dropout, self.training)
        return pool(self.layers[-1](x, graph), graph, self.config.pooling)
