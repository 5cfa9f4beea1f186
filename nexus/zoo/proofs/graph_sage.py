"""GraphSAGE against torch_geometric's SAGEConv; the sampler by counting, and against the full graph."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.data.graph import Graph
from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._graphs import Pair, awkward_graph, compare, covers, features, linear, load_oracle, randomised

ORACLE = ("torch_geometric", "torch")
TOLERANCE = 1e-10
KERNELS = "nexus/models/gnn/_kernels.py"
MUTATIONS = (
    Mutation("self left out", "self.self_proj(own).add_(self._mapped(x, graph))", "self._mapped(x, graph)"),
    Mutation(
        "gcn: self left out of the mean",
        "(neighbour_sum(x, graph) + own) / (graph.degree + 1)",
        "neighbour_sum(x, graph) / (graph.degree + 1)",
    ),
    Mutation("pool without its nonlinearity", "F.relu(self.pool_proj(x))", "self.pool_proj(x)"),
    Mutation("not normalised", "F.normalize(y, dim=-1) if self.normalize else y", "y"),
    Mutation(
        "mean divides by one more",
        "graph.shares(x.dtype)",
        "1 / (1 / graph.shares(x.dtype) + 1)",
        KERNELS,
    ),
    Mutation(
        "gradient along the edges, not against them",
        "back = graph.transposed\n            dx",
        "back = graph\n            dx",
        KERNELS,
    ),
    Mutation(
        "gradient of the mean divided by what leaves a node",
        "graph.shares(grad.dtype, back=True)",
        "graph.transposed.shares(grad.dtype)",
        KERNELS,
    ),
    Mutation(
        "maximum of nothing is not 0",
        "return out.masked_fill((graph.degree == 0)[:, None], 0)",
        "return out - (graph.degree == 0).to(out)[:, None]",
        KERNELS,
    ),
    Mutation(
        "edges that share the maximum get its whole gradient each",
        "share = grads[0] / sum_of_edges(largest, graph).clamp_(min=1)",
        "share = grads[0]",
        KERNELS,
    ),
    Mutation(
        "an LSTM that reads over the end", "padded, counts.cpu()", "padded, counts.cpu().clamp(min=int(counts.max()))"
    ),
    Mutation("a layer too few of hops", "reached[hops - 1],", "reached[hops],", "nexus/models/gnn/_sampling.py"),
    Mutation("draws with replacement", "torch.where(taken, top, pick)", "pick", "nexus/models/gnn/_sampling.py"),
)


def example(seed: int = 0) -> Example:
    """The tiny model on a graph of 14 nodes."""
    from nexus.models.gnn.graph_sage import GraphSAGE, GraphSAGEConfig

    torch.manual_seed(seed)
    graph = awkward_graph(seed)[1]
    return Example(GraphSAGE(GraphSAGEConfig.tiny()), (torch.randn(graph.n_nodes, 6), graph))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Every aggregator against SAGEConv or an explicit loop; sampling with all neighbours; the draws."""
    load_oracle()
    for aggregator in ("mean", "sum", "max", "pool"):
        for width in (3, 9):  # narrower and wider than the input: the order of sum and map differs
            yield from _layer(aggregator, width, aggregator in ("mean", "pool"), seed)
    yield from _explicit("gcn", seed)
    yield from _explicit("lstm", seed)
    yield from _full_fan_out(seed)
    yield from _draws(seed)


def _layer(aggregator: str, width: int, normalize: bool, seed: int) -> Iterator[Comparison]:
    from torch_geometric.nn import SAGEConv

    from nexus.models.gnn.graph_sage import SAGELayer

    edges, graph = awkward_graph(seed)
    ours = randomised(SAGELayer(6, width, aggregator, normalize), seed)  # type: ignore[arg-type]
    how = "max" if aggregator == "pool" else aggregator
    theirs = SAGEConv(6, width, aggr=how, normalize=normalize, project=aggregator == "pool").double()
    x = features(graph.n_nodes, 6, seed)
    pairs = [
        Pair("x", x, x),
        *linear("neighbour_proj", ours.get_submodule("neighbour_proj"), theirs.lin_l),
        *linear("self_proj", ours.get_submodule("self_proj"), theirs.lin_r),
    ]
    if aggregator == "pool":
        pairs += linear("pool_proj", ours.get_submodule("pool_proj"), theirs.lin)
    covers(ours, pairs)
    yield from compare(f"{aggregator}, {width} wide", pairs, lambda: ours(x, graph), lambda: theirs(x, edges))


def _explicit(aggregator: str, seed: int) -> Iterator[Comparison]:
    """Node after node, as algorithm 1 is written."""
    from nexus.models.gnn.graph_sage import SAGELayer

    graph = awkward_graph(seed)[1]
    ours = randomised(SAGELayer(5, 4, aggregator), seed)  # type: ignore[arg-type]
    x = features(graph.n_nodes, 5, seed)

    def loop() -> Tensor:
        rows = []
        for node in range(graph.n_nodes):
            near = x[graph.src[graph.dst == node]]
            if aggregator == "gcn":
                rows.append(ours.neighbour_proj(torch.cat((near, x[node : node + 1])).mean(0)))
                continue
            state = ours.get_submodule("lstm")(near[None])[1][0][0, 0] if len(near) else x.new_zeros(5)
            rows.append(ours.neighbour_proj(state) + ours.get_submodule("self_proj")(x[node]))
        return torch.stack(rows)

    pairs = [Pair("x", x, x), *(Pair(n, p, p) for n, p in ours.named_parameters())]
    yield from compare(f"{aggregator}, node by node", pairs, lambda: ours(x, graph), loop)


def _full_fan_out(seed: int) -> Iterator[Comparison]:
    """With all neighbours drawn, the blocks give what the whole graph gives."""
    from nexus.models.gnn._sampling import NeighborSampler
    from nexus.models.gnn.graph_sage import GraphSAGE

    graph = awkward_graph(seed)[1]
    model = randomised(GraphSAGE({"d_in": 5, "d_model": 6, "d_out": 3, "n_layers": 3}), seed)
    x, seeds = features(graph.n_nodes, 5, seed), torch.tensor([3, 13, 8])
    nodes, blocks = NeighborSampler(graph, [-1, 1000, -1]).sample(seeds)
    pairs = [Pair("x", x, x), *(Pair(n, p, p) for n, p in model.named_parameters())]
    yield from compare("full fan-out", pairs, lambda: model(x[nodes], blocks), lambda: model(x, graph)[seeds])


def _draws(seed: int) -> Iterator[Comparison]:
    """Draws are different neighbours, and each of n is drawn with chance k / n: within 5 standard errors."""
    from nexus.models.gnn._sampling import NeighborSampler

    n, k, rounds = 7, 3, 300
    star = Graph.from_edges(torch.stack((torch.arange(n) + 1, torch.zeros(n, dtype=torch.long))), n + 1)
    sampler = NeighborSampler(star, [k], seed)
    counts, sizes = torch.zeros(n), []
    for _ in range(rounds):
        drawn = sampler.sample(torch.tensor([0])).nodes[1:]
        sizes.append(len(drawn))
        counts += F.one_hot(drawn - 1, n).sum(0)
    yield Comparison("different neighbours drawn", torch.tensor(sizes), torch.full((rounds,), k))
    error = (k / n * (1 - k / n) / rounds) ** 0.5
    off = ((counts / rounds - k / n).abs() > 5 * error).double()
    yield Comparison("neighbours drawn too often or too seldom", off, torch.zeros(n))
