"""GATv2 against torch_geometric's GATv2Conv, in every option; the static variant against an explicit form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._graphs import Pair, awkward_graph, compare, covers, features, linear, load_oracle, randomised

ORACLE = ("torch_geometric", "torch")
TOLERANCE = 1e-10
KERNELS = "nexus/models/gnn/_kernels.py"
MUTATIONS = (
    Mutation(
        "values from the targets' projection",
        "neighbour_sum(left, graph, weight)",
        "neighbour_sum(right, graph, weight)",
    ),
    Mutation(
        "the score's LeakyReLU is a ReLU",
        "F.leaky_relu_(_summed(left, right, edge, graph, part), slope), by_head",
        "F.relu_(_summed(left, right, edge, graph, part)), by_head",
    ),
    Mutation("no self loops", "graph = graph.looped if self.self_loops else graph", "graph = graph"),
    Mutation("edge features forgotten", "return z if edge is None else z.add_(edge[part])", "return z"),
    Mutation("gradient of the score without the slope", "spread, z, slope, False", "spread, z, 0.0, False"),
    Mutation(
        "gradient of a from the raw sum", "by_all.addmm_(g.t(), F.leaky_relu_(z, slope))", "by_all.addmm_(g.t(), z)"
    ),
    Mutation(
        "gradients of sources and targets exchanged",
        "return sum_of_out_edges(dz, graph), sum_of_edges(dz, graph), datt",
        "return sum_of_edges(dz, graph), sum_of_out_edges(dz, graph), datt",
    ),
    Mutation(
        "heads added, not averaged",
        "y.view(len(y), self.n_heads, -1).mean(1)",
        "y.view(len(y), self.n_heads, -1).sum(1)",
    ),
    Mutation(
        "softmax over sources",
        "sum_of_edges(weight, graph).index_select(0, graph.dst)",
        "sum_of_out_edges(weight, graph).index_select(0, graph.src)",
        KERNELS,
    ),
    Mutation(
        "softmax backward without its mean",
        "return product.sub_(mean.mul_(weight)), None",
        "return product, None",
        KERNELS,
    ),
    Mutation("static: nonlinearity before the heads' vectors", "return F.leaky_relu(score, slope)", "return score"),
)


def example(seed: int = 0) -> Example:
    """The tiny model on a graph of 14 nodes with edge features."""
    from nexus.models.gnn.gatv2 import GATv2, GATv2Config

    torch.manual_seed(seed)
    graph = awkward_graph(seed, edge_dim=4)[1].astype(torch.float32)
    return Example(GATv2(GATv2Config.tiny()), (torch.randn(graph.n_nodes, 6), graph))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """One layer in every option, and the static variant."""
    load_oracle()
    for options in (
        {},
        {"edge_dim": 4},
        {"concat": False},
        {"share_weights": True},
        {"self_loops": False, "edge_dim": 4, "negative_slope": 0.05},
    ):
        yield from _layer(options, seed)
    yield from _static(seed)


def _layer(options: dict[str, Any], seed: int) -> Iterator[Comparison]:
    from torch_geometric.nn import GATv2Conv

    from nexus.models.gnn.gatv2 import GATv2Layer

    edge_dim, concat = options.get("edge_dim", 0), options.get("concat", True)
    edges, graph = awkward_graph(seed, edge_dim=edge_dim)
    ours = randomised(GATv2Layer(5, 6, 3, **options), seed)
    theirs = GATv2Conv(
        5,
        2 if concat else 6,
        3,
        concat=concat,
        add_self_loops=options.get("self_loops", True),
        edge_dim=edge_dim or None,
        negative_slope=options.get("negative_slope", 0.2),
        share_weights=options.get("share_weights", False),
    ).double()
    x = features(graph.n_nodes, 5, seed)
    pairs = [
        Pair("x", x, x),
        Pair("att", ours.get_parameter("att"), theirs.att),
        Pair("bias", ours.get_parameter("bias"), theirs.bias),
        *linear("left_proj", ours.get_submodule("left_proj"), theirs.lin_l),
    ]
    if not options.get("share_weights"):
        pairs += linear("right_proj", ours.get_submodule("right_proj"), theirs.lin_r)
    if edge_dim:
        pairs += linear("edge_proj", ours.get_submodule("edge_proj"), theirs.lin_edge)
    covers(ours, pairs)
    label = ", ".join(f"{key}={value}" for key, value in options.items()) or "as it comes"
    yield from compare(label, pairs, lambda: ours(x, graph), lambda: theirs(x, edges, graph.edge_attr))


def _static(seed: int) -> Iterator[Comparison]:
    """The first GAT as dense matrices: scores of all pairs, masked softmax."""
    from nexus.models.gnn.gatv2 import GATv2Layer

    edges, graph = awkward_graph(seed)
    ours = randomised(GATv2Layer(5, 6, 2, attention="static"), seed)
    x = features(graph.n_nodes, 5, seed)
    loops = torch.eye(graph.n_nodes, dtype=torch.float64)
    count = loops.clone()  # how often each pair (target, source) is joined
    for source, target in edges.t().tolist():
        count[target, source] += source != target

    def dense() -> Tensor:
        left, right = (p(x).view(-1, 2, 3) for p in (ours.left_proj, ours.right_proj))
        score = (right * ours.att).sum(-1)[:, None] + (left * ours.att).sum(-1)[None]  # (target, source, head)
        grown = F.leaky_relu(score, 0.2).exp() * count[:, :, None]
        weight = grown / grown.sum(1, keepdim=True)
        return torch.einsum("tsh,shc->thc", weight, left).flatten(1) + ours.bias

    pairs = [Pair("x", x, x), *(Pair(n, p, p) for n, p in ours.named_parameters())]
    yield from compare("static attention, dense", pairs, lambda: ours(x, graph), dense)
