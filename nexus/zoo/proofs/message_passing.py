"""Message passing against torch_geometric's layers and aggregations; the adaptive network written out as loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.data.graph import Graph
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
    Mutation("gate by the source alone", ".add_(gate_in.index_select(0, graph.dst[part]))\n    return", "\n    return"),
    Mutation("gate of the gradient forgotten", "torch.mul(gate, arrived, out=dvalue[part])", "dvalue[part] = arrived"),
    Mutation("gradient of the gate without the value", "arrived.mul_(value.index_select(0, graph.src[part]))", "pass"),
    Mutation(
        "gradients of sources to targets",
        "return sum_of_edges(dgate, graph), sum_of_out_edges(dgate, graph)",
        "return sum_of_out_edges(dgate, graph), sum_of_edges(dgate, graph)",
    ),
    Mutation("GRU's state and input exchanged", "self.cell(got, x)", "self.cell(x, got)"),
    Mutation(
        "softmax without its values",
        "edge_sum(edge_softmax(messages * temperature, graph) * messages, graph)",
        "edge_sum(edge_softmax(messages * temperature, graph), graph)",
        KERNELS,
    ),
    Mutation("temperature divides", "messages * temperature", "messages / temperature", KERNELS),
    Mutation(
        "empty neighbourhood is not 0",
        "out.masked_fill((graph.degree == 0)[:, None], 0)",
        "out.masked_fill((graph.degree == 0)[:, None], -1)",
        KERNELS,
    ),
    Mutation(
        "depth not folded",
        "torch.erf((value - self.mean) / width) + torch.erf((value + self.mean) / width)",
        "2 * torch.erf((value - self.mean) / width)",
    ),
    Mutation("depth off by one", "torch.arange(self.max_depth + 1, dtype", "torch.arange(1, self.max_depth + 2, dtype"),
    Mutation("depths that are cut off keep their share", "q / q.sum(), answers", "q, answers"),
    Mutation("filter forgotten", "value = value * let_through", "value = value"),
)


def example(seed: int = 0) -> Example:
    """The tiny model on a graph of 14 nodes."""
    from nexus.models.gnn.message_passing import AdaptiveMessagePassing, AdaptiveMessagePassingConfig

    torch.manual_seed(seed)
    graph = awkward_graph(seed)[1]
    return Example(AdaptiveMessagePassing(AdaptiveMessagePassingConfig.tiny()), (torch.randn(graph.n_nodes, 6), graph))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The four aggregations, also without any edge; gated and recurrent rounds; depth; the network written out."""
    load_oracle()
    for how in ("sum", "mean", "max", "softmax"):
        yield from _aggregation(how, seed)
    yield from _gated(seed)
    yield from _recurrent(seed)
    yield from _depth()
    yield from _network(seed)


def _aggregation(how: str, seed: int) -> Iterator[Comparison]:
    from torch_geometric.nn import MessagePassing as Peer
    from torch_geometric.nn.aggr import SoftmaxAggregation

    from nexus.models.gnn._kernels import aggregate, neighbour_softmax

    class Copy(Peer):  # sends the sources' features as they are
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            out: Tensor = self.propagate(edge_index, x=x)
            return out

    none = Graph.from_edges(torch.zeros(2, 0, dtype=torch.long), 5)
    for edges, graph, label in ((*awkward_graph(seed), how), (none.edge_index, none, f"{how} of nothing")):
        x = features(graph.n_nodes, 4, seed)
        peer = Copy(aggr=how)
        same = [Pair("x", x, x)]
        yield from compare(label, same, partial(_kept, aggregate, x, graph, how), partial(_kept, peer, x, edges))
    edges, graph = awkward_graph(seed)
    x, heat = features(graph.n_nodes, 4, seed), torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    soft = SoftmaxAggregation(t=0.7, learn=True).double()
    pairs = [Pair("x", x, x), Pair("temperature", heat, soft.t)]
    theirs_soft = Copy(aggr=soft)
    yield from compare(
        "softmax with a temperature",
        pairs,
        lambda: neighbour_softmax(x, graph, heat),
        lambda: theirs_soft(x, edges),
    )


def _kept(way: Callable[..., Tensor], x: Tensor, *others: object) -> Tensor:
    """The result, tied to x even where nothing of x arrives: a graph without edges has a gradient then, of zeros."""
    return way(x, *others) + 0 * x


def _gated(seed: int) -> Iterator[Comparison]:
    from torch_geometric.nn import ResGatedGraphConv

    from nexus.models.gnn.message_passing import MessagePassing

    edges, graph = awkward_graph(seed)
    ours, theirs = randomised(MessagePassing(5), seed), ResGatedGraphConv(5, 5).double()
    assert ours.gate_proj is not None
    assert ours.self_proj is not None
    x = features(graph.n_nodes, 5, seed)
    pairs = [
        Pair("x", x, x),
        *linear("value_proj", ours.get_submodule("value_proj"), theirs.lin_value),
        *thirds("gate_proj", ours.gate_proj, [theirs.lin_key, theirs.lin_query]),
        Pair("self_proj.weight", ours.self_proj.weight, theirs.lin_skip.weight),
        Pair("self_proj.bias", ours.self_proj.bias, theirs.bias),
    ]
    covers(ours, pairs)
    yield from compare("gated", pairs, lambda: ours(x, graph), lambda: theirs(x, edges))


def _recurrent(seed: int) -> Iterator[Comparison]:
    from torch_geometric.nn import GatedGraphConv

    from nexus.models.gnn.message_passing import MessagePassing

    edges, graph = awkward_graph(seed)
    for how in ("sum", "mean", "max"):
        ours = randomised(MessagePassing(5, "linear", how, "gru"), seed)
        theirs = GatedGraphConv(5, 1, aggr=how).double()
        turned = theirs.weight[0].detach().t().clone().requires_grad_()  # theirs multiplies from the other side
        x = features(graph.n_nodes, 5, seed)

        def run(theirs: GatedGraphConv = theirs, turned: Tensor = turned, x: Tensor = x) -> Tensor:
            return theirs.rnn(theirs.propagate(edges, x=x @ turned.t(), edge_weight=None), x)

        pairs = [
            Pair("x", x, x),
            Pair("value_proj.weight", ours.value_proj.weight, turned),
            *linear("cell", ours.get_submodule("cell"), theirs.rnn),
        ]
        covers(ours, pairs)
        yield from compare(f"recurrent, {how}", pairs, partial(ours, x, graph), run)


def _depth() -> Iterator[Comparison]:
    """The distribution of the depth against torch's normal distribution, mean and scale by their gradients too."""
    from nexus.models.gnn.message_passing import DepthDistribution

    ours = DepthDistribution(6, 1.7, 1.3).double()
    mean = ours.mean.detach().clone().requires_grad_()
    raw = ours.raw_scale.detach().clone().requires_grad_()

    def explicit() -> Tensor:
        normal = torch.distributions.Normal(mean, F.softplus(raw) + 0.5)
        ends = torch.arange(7.0, dtype=torch.float64)
        folded = normal.cdf(ends) - normal.cdf(-ends)  # P(|X| < end)
        return folded.diff() / folded[-1]

    yield from compare("depth", [Pair("mean", ours.mean, mean), Pair("scale", ours.raw_scale, raw)], ours, explicit)


def _network(seed: int) -> Iterator[Comparison]:
    """Round after round with messages node by node, and the answers weighed by the depth."""
    from nexus.models.gnn.message_passing import AdaptiveMessagePassing

    graph = awkward_graph(seed)[1]
    config = {"d_in": 4, "d_model": 5, "d_out": 2, "n_layers": 4, "quantile": 0.8}
    ours = AdaptiveMessagePassing(config)
    start = {n: p.detach().clone() for n, p in ours.depth.named_parameters()}
    randomised(ours, seed)
    with torch.no_grad():
        for name, value in start.items():
            ours.depth.get_parameter(name).copy_(value)
    x, used = features(graph.n_nodes, 4, seed), ours.depth.rounds(0.8)
    yield Comparison("rounds run", torch.tensor(used), torch.tensor(3))

    def explicit() -> Tensor:
        h, total = ours.encoder(x), 0.0
        q = ours.depth()[:used]
        for i in range(used):
            unit, passing = ours.rounds[i], torch.sigmoid(ours.filters[i](x))
            a, b = unit.get_submodule("gate_proj")(h).chunk(2, dim=-1)
            value = unit.get_submodule("value_proj")(h) * passing
            rows = [
                sum((torch.sigmoid(a[t] + b[s]) * value[s] for s in graph.src[graph.dst == t].tolist()), 0 * value[0])
                for t in range(graph.n_nodes)
            ]
            h = F.relu(torch.stack(rows) + unit.get_submodule("self_proj")(h))
            total = total + q[i] / q.sum() * ours.readouts[i](h)
        return torch.as_tensor(total)

    live = [(n, p) for n, p in ours.named_parameters() if f".{used}." not in n]  # the last round is cut off
    pairs = [Pair("x", x, x), *(Pair(n, p, p) for n, p in live)]
    yield from compare("network, node by node", pairs, lambda: ours(x, graph), explicit)
