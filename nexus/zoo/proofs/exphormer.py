"""Exphormer against the authors' own attention (frozen numbers), and against attention over a dense mask.

The frozen file is `tests/golden/exphormer.safetensors`; `tests/golden/exphormer.py` makes it again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from nexus.data.graph import Graph
from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._graphs import Pair, compare, covers, features, randomised

ORACLE = ("torch",)
TOLERANCE = 1e-10
FROZEN = Path(__file__).parents[3] / "tests" / "golden" / "exphormer.safetensors"
SEEDS = 3  # that the frozen file holds
MUTATIONS = (
    Mutation("scale forgotten", " / math.sqrt(self.head_dim)\n", "\n"),
    Mutation(
        "kind of the edge forgotten",
        "(kinds[:, None] * k).flatten(0, 1)",
        "(torch.ones_like(kinds)[:, None] * k).flatten(0, 1)",
    ),
    Mutation("edge vectors added to the keys", "(kinds[:, None] * k)", "(kinds[:, None] + k)"),
    Mutation("code: not clamped", "scores.clamp(-5, 5).exp()", "scores.exp()"),
    Mutation("code: nothing added to the normaliser", "edge_total(raised, graph) + 1e-6", "edge_total(raised, graph)"),
    Mutation("queries and keys exchanged", "q, k, v = self.qkv_proj(x)", "k, q, v = self.qkv_proj(x)"),
    Mutation(
        "expander edges one way only",
        "pairs = torch.cat((pairs, pairs.flip(0)), dim=1)",
        "pairs = torch.cat((pairs, pairs), dim=1)",
    ),
    Mutation(
        "one virtual node for the whole batch",
        "graph.n_nodes + graph.graph_of_node * n_virtual + i",
        "graph.n_nodes + 0 * graph.graph_of_node + i",
    ),
    Mutation(
        "virtual nodes only listen",
        "torch.stack((nodes, virtual)), torch.stack((virtual, nodes))",
        "torch.stack((nodes, virtual)), torch.stack((nodes, virtual))",
    ),
    Mutation("no residual", "self.attention_norm(x + F.dropout(", "self.attention_norm(F.dropout("),
)


def example(seed: int = 0) -> Example:
    """The tiny model on a batch of two rings with expanders and virtual nodes."""
    from nexus.models.gnn.exphormer import Exphormer, ExphormerConfig, with_expander

    torch.manual_seed(seed)
    graph = with_expander(_rings(), 4, 1, seed)
    return Example(Exphormer(ExphormerConfig.tiny()), (torch.randn(20, 6), graph))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The authors' numbers; dense forms of attention and layer; what the edges must be."""
    yield from _golden(seed % SEEDS)
    yield from _dense(seed)
    yield from _edges(seed)


def _rings() -> Graph:
    sizes = (8, 12)
    rings = [torch.stack((torch.arange(n), (torch.arange(n) + 1) % n)) for n in sizes]
    return Graph.batch(
        [Graph.from_edges(torch.cat((r, r.flip(0)), dim=1), n) for r, n in zip(rings, sizes, strict=True)]
    )


def _golden(seed: int) -> Iterator[Comparison]:
    from nexus.models.gnn.exphormer import ExphormerAttention

    stored = load_file(FROZEN)
    found = {name.split("/", 1)[1]: t for name, t in stored.items() if name.startswith(f"{seed}/")}
    width = found["x"].shape[1]
    ours = ExphormerAttention(width, 3, len(found["edge_embed"]), "code").double()
    with torch.no_grad():
        ours.qkv_proj.weight.copy_(torch.cat([found[f"{n}.weight"] for n in "QKV"]))
        ours.edge_embed.weight.copy_(found["edge_embed"])
        ours.edge_proj.weight.copy_(found["E.weight"])
    x = found["x"].requires_grad_()
    graph = Graph.from_edges(found["edges"], len(x), edge_type=found["kind"])
    output = ours(x, graph)
    yield Comparison("authors: output", output, found["output"])
    wanted = {"x": x, "edge_embed": ours.edge_embed.weight, "E.weight": ours.edge_proj.weight}
    wanted["QKV"] = ours.qkv_proj.weight
    gradients = torch.autograd.grad((output * found["weighting"]).sum(), list(wanted.values()))
    for name, gradient in zip(wanted, gradients, strict=True):
        if name == "QKV":
            theirs = torch.cat([found[f"gradient of {n}.weight"] for n in "QKV"])
        else:
            theirs = found[f"gradient of {name}"]
        yield Comparison(f"authors: gradient of {name}", gradient, theirs)


def _dense(seed: int) -> Iterator[Comparison]:
    """A whole layer of the paper's variant, with the attention over all pairs of nodes."""
    from nexus.models.gnn.exphormer import ExphormerLayer, with_expander

    graph = with_expander(_rings(), 2, 2, seed)
    ours = randomised(ExphormerLayer(6, 2), seed)
    x = features(graph.n_nodes, 6, seed)
    assert graph.edge_type is not None
    edges = list(zip(graph.src.tolist(), graph.dst.tolist(), graph.edge_type.tolist(), strict=True))

    def dense() -> Tensor:
        attention = ours.attention
        q, k, v = (t.view(-1, 2, 3) for t in attention.qkv_proj(x).chunk(3, dim=-1))
        kinds = attention.edge_proj(attention.edge_embed.weight).view(-1, 2, 3)
        total, weighed = x.new_zeros(len(x), 2), x.new_zeros(len(x), 2, 3)
        for kind in range(len(kinds)):  # as many dense matrices as kinds of edges, each with its counts
            count = x.new_zeros(len(x), len(x))
            for source, target, _ in (e for e in edges if e[2] == kind):
                count[target, source] += 1
            grown = (torch.einsum("thc,shc->tsh", q * kinds[kind], k) / math.sqrt(3)).exp() * count[:, :, None]
            total = total + grown.sum(1)
            weighed = weighed + torch.einsum("tsh,shc->thc", grown, v)
        h = ours.attention_norm(x + (weighed / total[:, :, None]).flatten(1))
        first, second = ours.mlp[0], ours.mlp[3]
        return ours.norm(h + second(F.relu(first(h))))

    pairs = [Pair("x", x, x), *(Pair(n, p, p) for n, p in ours.named_parameters())]
    covers(ours, pairs)
    yield from compare("layer, dense", pairs, lambda: ours(x, graph), dense)


def _edges(seed: int) -> Iterator[Comparison]:
    """The expander is regular, symmetric and mixes; virtual nodes hear and are heard by all of their own graph."""
    from nexus.models.gnn.exphormer import expander_edges, second_eigenvalue, with_expander

    draw = torch.Generator().manual_seed(seed)
    for size, degree in ((200, 4), (101, 6)):
        edges = expander_edges(size, degree, draw)
        for name, row in (("out", edges[0]), ("in", edges[1])):
            yield Comparison(f"{name}-degree", torch.bincount(row, minlength=size), torch.full((size,), degree))
        there, back = ((pair[0] * size + pair[1]).sort().values for pair in (edges, edges.flip(0)))
        yield Comparison("every edge has one back", there, back)
        over = max(0.0, second_eigenvalue(edges, size) - (2 * math.sqrt(degree - 1) + 0.2))
        yield Comparison("second eigenvalue above Friedman's", torch.tensor(over), torch.tensor(0.0))
    graph = with_expander(_rings(), 0, 2, seed)
    joined = torch.zeros(24, 24)
    joined[graph.dst[graph.edge_type != 0], graph.src[graph.edge_type != 0]] = 1
    expected = torch.zeros(24, 24)
    expected[20:22, :8] = expected[22:, 8:20] = 1
    yield Comparison("virtual edges", joined, expected + expected.t())
