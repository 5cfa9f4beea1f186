"""The base graph network against torch_geometric's TransformerConv, and against attention over a dense mask."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._graphs import (
    Pair,
    awkward_graph,
    compare,
    covers,
    features,
    linear,
    load_oracle,
    randomised,
    thirds,
)

ORACLE = ("torch_geometric", "torch")
TOLERANCE = 1e-10
KERNELS = "nexus/models/gnn/_kernels.py"
MUTATIONS = (
    Mutation(
        "scale forgotten", "edge_softmax(scores / math.sqrt(self.head_dim), graph)", "edge_softmax(scores, graph)"
    ),
    Mutation(
        "scale of all heads together",
        "math.sqrt(self.head_dim), graph)",
        "math.sqrt(self.head_dim * self.n_heads), graph)",
    ),
    Mutation("queries and keys exchanged", "q, k, v = self.qkv_proj(x)", "k, q, v = self.qkv_proj(x)"),
    Mutation("edges not in the values", "y = y + self._edge_values(weight, graph)", "y = y + 0.0"),
    Mutation("edges not in the scores", "scores = scores + self._edge_scores(q, graph)", "scores = scores + 0.0"),
    Mutation("gate turned round", "gate * own + (1 - gate) * y", "gate * y + (1 - gate) * own"),
    Mutation(
        "gate does not see the difference",
        "torch.cat((y, own, y - own), dim=-1)",
        "torch.cat((y, own, y + own), dim=-1)",
    ),
    Mutation(
        "heads added, not averaged",
        "y.view(len(y), self.n_heads, -1).mean(1)",
        "y.view(len(y), self.n_heads, -1).sum(1)",
    ),
    Mutation(
        "gradient of the keys in the edges' own order",
        "_weighted_bags(q, back, grad.index_select(0, back.order))",
        "_weighted_bags(q, back, grad)",
        KERNELS,
    ),
    Mutation(
        "gradient of the values in the edges' own order",
        "None if weight is None else weight.index_select(0, back.order)",
        "weight",
        KERNELS,
    ),
)


def example(seed: int = 0) -> Example:
    """The tiny model on a graph of 14 nodes with edge features."""
    from nexus.models.gnn.base_gnn import BaseGNN, BaseGNNConfig

    torch.manual_seed(seed)
    graph = awkward_graph(seed, edge_dim=4)[1].astype(torch.float32)
    return Example(BaseGNN(BaseGNNConfig.tiny()), (torch.randn(graph.n_nodes, 6), graph))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """One layer in every option, and a dense form of it."""
    load_oracle()
    for options in ({}, {"edge_dim": 4}, {"concat": False, "edge_dim": 4}, {"gated": False}):
        yield from _layer(options, seed)
    yield from _dense(seed)


def _layer(options: dict[str, Any], seed: int) -> Iterator[Comparison]:
    from torch_geometric.nn import TransformerConv

    from nexus.models.gnn.base_gnn import GraphAttention

    edge_dim, concat = options.get("edge_dim", 0), options.get("concat", True)
    gated = options.get("gated", True)
    edges, graph = awkward_graph(seed, edge_dim=edge_dim)
    ours = randomised(GraphAttention(5, 6, 3, **options), seed)
    theirs = TransformerConv(5, 2 if concat else 6, 3, concat=concat, beta=gated, edge_dim=edge_dim or None).double()
    x = features(graph.n_nodes, 5, seed)
    pairs = [
        Pair("x", x, x),
        *thirds("qkv_proj", ours.qkv_proj, [theirs.lin_query, theirs.lin_key, theirs.lin_value]),
        *linear("skip_proj", ours.get_submodule("skip_proj"), theirs.lin_skip),
    ]
    if gated:
        pairs += linear("gate_proj", ours.get_submodule("gate_proj"), theirs.lin_beta)
    if edge_dim:
        pairs += linear("edge_proj", ours.get_submodule("edge_proj"), theirs.lin_edge)
    covers(ours, pairs)
    label = ", ".join(f"{key}={value}" for key, value in options.items()) or "as it comes"
    yield from compare(label, pairs, lambda: ours(x, graph), lambda: theirs(x, edges, graph.edge_attr))


def _dense(seed: int) -> Iterator[Comparison]:
    """All pairs of nodes, and a softmax that counts each pair as often as it is joined."""
    from nexus.models.gnn.base_gnn import GraphAttention

    edges, graph = awkward_graph(seed)
    ours = randomised(GraphAttention(5, 6, 2, gated=False), seed)
    x = features(graph.n_nodes, 5, seed)
    count = x.new_zeros(graph.n_nodes, graph.n_nodes)
    for source, target in edges.t().tolist():
        count[target, source] += 1

    def dense() -> Tensor:
        q, k, v = (t.view(-1, 2, 3) for t in ours.qkv_proj(x).chunk(3, dim=-1))
        grown = (torch.einsum("thc,shc->tsh", q, k) / math.sqrt(3)).exp() * count[:, :, None]
        weight = grown / grown.sum(1, keepdim=True).clamp(min=1e-300)
        return torch.einsum("tsh,shc->thc", weight, v).flatten(1) + ours.skip_proj(x)

    pairs = [Pair("x", x, x), *(Pair(n, p, p) for n, p in ours.named_parameters())]
    yield from compare("dense", pairs, lambda: ours(x, graph), dense)
