"""GraphSAGE: a node is its own features beside a summary of a sample of its neighbours.

The one idea: learn how to aggregate, not one vector for each node, so that the model works on nodes and graphs it has
never seen. Paper: Hamilton, Ying and Leskovec 2017, "Inductive Representation Learning on Large Graphs"
(arXiv:1706.02216), algorithm 1; sampling: algorithm 2 of its appendix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from nexus.core.base import NexusModule
from nexus.data.graph import Graph
from nexus.models.gnn._config import GraphModelConfig
from nexus.models.gnn._kernels import neighbour_max, neighbour_mean, neighbour_sum, pool
from nexus.models.gnn._sampling import NeighborSampler, Sample

__all__ = ["GraphSAGE", "GraphSAGEConfig", "NeighborSampler", "SAGELayer", "Sample"]

Aggregator = Literal["mean", "pool", "lstm", "gcn", "sum", "max"]


class SAGELayer(nn.Module):
    """One step of algorithm 1: ``W_self h_v + W_neighbours aggregate(h_u, u in N(v)) + b``.

    The paper writes one matrix over the two halves of a concatenation; two matrices that are added are the same map.

    Args:
        d_in, d_out: widths.
        aggregator: "mean", "pool" (eq. 3: the maximum of a learnt layer), "lstm" (over the neighbours in the order of
            the graph) and "gcn" (eq. 2: mean over neighbours and self, one matrix) are the paper's; "sum" and "max"
            go over the plain features.
        normalize: divide each output by its length (line 7 of algorithm 1).
        bias: whether there is a b.
    """

    def __init__(
        self, d_in: int, d_out: int, aggregator: Aggregator = "mean", normalize: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        self.aggregator, self.normalize = aggregator, normalize
        self.neighbour_proj = nn.Linear(d_in, d_out, bias=bias)
        self.self_proj = None if aggregator == "gcn" else nn.Linear(d_in, d_out, bias=False)
        self.pool_proj = nn.Linear(d_in, d_in) if aggregator == "pool" else None
        self.lstm = nn.LSTM(d_in, d_in, batch_first=True) if aggregator == "lstm" else None

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        """Map ``x`` (n_sources, d_in) to (n_nodes, d_out); in a sampled block the targets are the first sources."""
        own = x if graph.n_nodes == len(x) else x[: graph.n_nodes]
        if self.self_proj is None:
            both = (neighbour_sum(x, graph) + own) / (graph.degree + 1).to(x)[:, None]
            y = self.neighbour_proj(both)
        else:
            y = self.self_proj(own).add_(self._mapped(x, graph))
        return F.normalize(y, dim=-1) if self.normalize else y

    def _mapped(self, x: Tensor, graph: Graph) -> Tensor:
        """``W_neighbours aggregate(x) + b``; where both are linear, whichever order sums the narrower rows."""
        proj = self.neighbour_proj
        if self.aggregator in ("sum", "mean") and proj.out_features < proj.in_features:
            way = neighbour_sum if self.aggregator == "sum" else neighbour_mean
            y = way(F.linear(x, proj.weight), graph)
            return y if proj.bias is None else y + proj.bias
        out: Tensor = proj(self.aggregate(x, graph))
        return out

    def aggregate(self, x: Tensor, graph: Graph) -> Tensor:
        """Bring the neighbours' rows of ``x`` together, (n_nodes, d_in); 0 for a node without neighbours."""
        if self.lstm is not None:
            return _lstm_over_neighbours(self.lstm, x, graph)
        if self.pool_proj is not None:
            return neighbour_max(F.relu(self.pool_proj(x)), graph)  # eq. 3
        ways = {"mean": neighbour_mean, "sum": neighbour_sum, "max": neighbour_max}
        return ways[self.aggregator](x, graph)


def _lstm_over_neighbours(lstm: nn.LSTM, x: Tensor, graph: Graph) -> Tensor:
    """Last state of the LSTM over each node's neighbours, read up to its own number of them."""
    busy = graph.degree.nonzero()[:, 0]
    out = x.new_zeros(graph.n_nodes, lstm.hidden_size)
    if not len(busy):
        return out
    counts = graph.degree[busy]
    steps = torch.arange(int(counts.max()), device=x.device)
    edges = graph.ptr[busy, None] + torch.minimum(steps, counts[:, None] - 1)  # (nodes, most neighbours)
    padded = x[graph.src[edges]]
    packed = pack_padded_sequence(padded, counts.cpu(), batch_first=True, enforce_sorted=False)
    last = lstm(packed)[1][0][0]
    return out.index_copy(0, busy, last)


@dataclass(frozen=True, kw_only=True)
class GraphSAGEConfig(GraphModelConfig):
    """Sizes of a :class:`GraphSAGE`; ``aggregator`` and ``normalize`` are those of :class:`SAGELayer`."""

    aggregator: Aggregator = "mean"
    normalize: bool = False

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """A model that builds and trains on a CPU in under a second."""
        sizes: dict[str, object] = {"d_in": 6, "d_model": 8, "d_out": 3, "n_layers": 2}
        return cls(**{**sizes, **changes})  # type: ignore[arg-type]


class GraphSAGE(NexusModule):
    """Layers with ReLU and dropout between them; the last one gives the answer, nothing is normalised after it."""

    config_class = GraphSAGEConfig
    config: GraphSAGEConfig

    def __init__(self, config: GraphSAGEConfig | Mapping[str, Any]) -> None:
        super().__init__(config)
        c = self.config
        widths = [c.d_in, *[c.d_model] * (c.n_layers - 1), c.d_out]
        self.layers = nn.ModuleList(
            SAGELayer(a, b, c.aggregator, c.normalize and i < c.n_layers - 1)
            for i, (a, b) in enumerate(pairwise(widths))
        )

    def forward(self, x: Tensor, graph: Graph | Sequence[Graph]) -> Tensor:
        """Answer for nodes or graphs.

        Args:
            x: (N, d_in) features of the nodes, or of the sampled ones.
            graph: the graph, or one sampled block for each layer, from :meth:`NeighborSampler.sample`.

        Returns:
            (N or G, d_out); with blocks the rows of the seeds.

        Raises:
            ValueError: the number of blocks is not that of the layers.
        """
        blocks = [graph] * len(self.layers) if isinstance(graph, Graph) else list(graph)
        if len(blocks) != len(self.layers):
            raise ValueError(f"{len(blocks)} blocks for {len(self.layers)} layers; give one fan-out for each layer")
        for i, (layer, block) in enumerate(zip(self.layers, blocks, strict=True)):
            x = layer(x, block)
            if i < len(self.layers) - 1:
                x = F.dropout(F.relu(x), self.config.dropout, self.training)
        return pool(x, blocks[-1], self.config.pooling)
