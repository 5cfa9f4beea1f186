"""GPS against torch_geometric's GPSConv, its encodings against torch_geometric's transforms."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
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
ENCODINGS = "nexus/models/gnn/_encodings.py"
MUTATIONS = (
    Mutation(
        "no residual round the branches",
        "norm(x + F.dropout(branch(x, graph), self.dropout, self.training))",
        "norm(F.dropout(branch(x, graph), self.dropout, self.training))",
    ),
    Mutation("no residual round the MLP", "self.norm(y + self.mlp(y))", "self.norm(self.mlp(y))"),
    Mutation("branches averaged", "parts[0] + parts[1]", "(parts[0] + parts[1]) / 2"),
    Mutation("attention over the padding too", "mask[:, None, None]", "torch.ones_like(mask)[:, None, None]"),
    Mutation(
        "attention across graphs",
        "qkv.view(graph.n_graphs, longest, 3, self.n_heads, -1)",
        "qkv.view(1, graph.n_graphs * longest, 3, self.n_heads, -1)",
    ),
    Mutation("GINE without the node itself", "got + (1 + self.eps) * x", "got + self.eps * x"),
    Mutation(
        "GINE without its ReLU",
        ".add_(x.index_select(0, graph.src[part])).relu_()",
        ".add_(x.index_select(0, graph.src[part]))",
    ),
    Mutation("GINE: gradient of the edge's bias", "dz.t() @ attr, dz.sum(0), None", "dz.t() @ attr, dz.mean(0), None"),
    Mutation(
        "encoder that sees the sign", "self.phi(pairs) + self.phi(pairs * flip)", "self.phi(pairs) + self.phi(pairs)"
    ),
    Mutation(
        "walks that leave by the edges that come in",
        "graph.transposed.degree.clamp",
        "graph.degree.clamp",
        ENCODINGS,
    ),
    Mutation("the constant eigenvector kept", "vectors[:, 1:]", "vectors[:, :-1]", ENCODINGS),
    Mutation("Laplacian not normalised", "-scale[src] * scale[dst]", "-scale[src] * scale[src]", ENCODINGS),
)


def undirected(seed: int, count: int = 3) -> Graph:
    """A batch of small connected graphs of different sizes."""
    draw, graphs = torch.Generator().manual_seed(4000 + seed), []
    for size in range(5, 5 + 2 * count, 2):
        ring = torch.stack((torch.arange(size), (torch.arange(size) + 1) % size))
        chords = torch.randint(size, (2, size // 2), generator=draw)
        graphs.append(Graph.from_edges(torch.cat((ring, chords), dim=1), size).undirected())
    return Graph.batch(graphs)


def example(seed: int = 0) -> Example:
    """The tiny model on three small graphs with both encodings."""
    from nexus.models.gnn._encodings import laplacian_encoding, random_walk_encoding
    from nexus.models.gnn.gps import GPS, GPSConfig

    torch.manual_seed(seed)
    plain = undirected(seed)
    graph = Graph.from_edges(plain.edge_index, plain.n_nodes, torch.randn(plain.n_edges, 4), node_ptr=plain.node_ptr)
    x, walk = torch.randn(graph.n_nodes, 6), random_walk_encoding(graph, 5, torch.float32)
    return Example(GPS(GPSConfig.tiny()), (x, graph, walk, laplacian_encoding(graph, 3, torch.float32)))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Layers with each local part, batched and alone, normed both ways; encodings; indifference to signs."""
    load_oracle()
    yield from _layer("gine", "batch", True, seed)
    yield from _layer("gine", "layer", False, seed)
    yield from _layer("gated", "batch", True, seed)
    yield from _plain_gine(seed)
    yield from _attention_alone(seed)
    yield from _encodings(seed)
    yield from _signs(seed)


def _layer(local: str, norm: str, batched: bool, seed: int) -> Iterator[Comparison]:
    from torch_geometric.nn import GINEConv, GPSConv, ResGatedGraphConv

    from nexus.models.gnn.gps import GPSLayer

    graph = undirected(seed) if batched else awkward_graph(seed)[1]
    draw = torch.Generator().manual_seed(seed)
    attr = torch.randn(graph.n_edges, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    graph = Graph.from_edges(graph.edge_index, graph.n_nodes, attr, node_ptr=graph.node_ptr)
    ours = randomised(GPSLayer(6, 2, local=local, edge_dim=3, norm=norm), seed)  # type: ignore[arg-type]
    if local == "gine":
        mlp = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        conv: nn.Module = GINEConv(mlp, train_eps=True, edge_dim=3)
    else:
        conv = ResGatedGraphConv(6, 6)
    extra = {} if norm == "batch" else {"norm_kwargs": {"mode": "node"}}
    theirs = GPSConv(6, conv, heads=2, norm=f"{norm}_norm", **extra).double()
    x = features(graph.n_nodes, 6, seed)
    pairs = [Pair("x", x, x), *_common(ours, theirs, norm), *_local(ours, theirs, local)]
    covers(ours, pairs)
    more = {"edge_attr": attr} if local == "gine" else {}
    if local == "gine":
        pairs.append(Pair("edge features", attr, attr))
    yield from compare(
        f"{local}, {norm} norm",
        pairs,
        lambda: ours(x, graph),
        lambda: theirs(x, graph.edge_index, graph.graph_of_node, **more),
    )


def _common(ours: nn.Module, theirs: nn.Module, norm: str) -> list[Pair]:
    pairs = [
        Pair(
            "qkv_proj.weight",
            ours.get_parameter("attention.qkv_proj.weight"),
            theirs.get_parameter("attn.in_proj_weight"),
        ),
        Pair("qkv_proj.bias", ours.get_parameter("attention.qkv_proj.bias"), theirs.get_parameter("attn.in_proj_bias")),
        *linear("o_proj", ours.get_submodule("attention.o_proj"), theirs.get_submodule("attn.out_proj")),
        *linear("mlp", ours.get_submodule("mlp"), theirs.get_submodule("mlp")),
    ]
    for i, name in enumerate(("local_norm", "attention_norm", "norm"), start=1):
        inner = theirs.get_submodule(f"norm{i}.module" if norm == "batch" else f"norm{i}")
        pairs += linear(name, ours.get_submodule(name), inner)
    return pairs


def _local(ours: nn.Module, theirs: nn.Module, local: str) -> list[Pair]:
    one, other = ours.get_submodule("local"), theirs.get_submodule("conv")
    if local == "gine":
        return [
            Pair("eps", one.get_parameter("eps"), other.get_parameter("eps")),
            *linear("edge_proj", one.get_submodule("edge_proj"), other.get_submodule("lin")),
            *linear("local mlp", one.get_submodule("mlp"), other.get_submodule("nn")),
        ]
    gates = [other.get_submodule("lin_key"), other.get_submodule("lin_query")]
    return [
        *linear("value_proj", one.get_submodule("value_proj"), other.get_submodule("lin_value")),
        *thirds("gate_proj", one.gate_proj, gates),  # type: ignore[arg-type]
        Pair("self_proj.weight", one.get_parameter("self_proj.weight"), other.get_parameter("lin_skip.weight")),
        Pair("self_proj.bias", one.get_parameter("self_proj.bias"), other.get_parameter("bias")),
    ]


def _plain_gine(seed: int) -> Iterator[Comparison]:
    """Without edge features: GINE as a loop over the edges."""
    from nexus.models.gnn.gps import GINELayer

    graph = awkward_graph(seed)[1]
    ours, x = randomised(GINELayer(5), seed), features(graph.n_nodes, 5, seed)

    def loop() -> Tensor:
        got = [sum((F.relu(x[s]) for s in graph.src[graph.dst == t]), 0 * x[0]) for t in range(graph.n_nodes)]
        return ours.mlp(torch.stack(got) + (1 + ours.eps) * x)

    pairs = [Pair("x", x, x), *(Pair(n, p, p) for n, p in ours.named_parameters())]
    yield from compare("GINE, edge by edge", pairs, lambda: ours(x, graph), loop)


def _attention_alone(seed: int) -> Iterator[Comparison]:
    """Global attention of a batch equals that of each of its graphs alone."""
    from nexus.models.gnn.gps import GlobalAttention

    graph = undirected(seed)
    ours, x = randomised(GlobalAttention(6, 2), seed), features(graph.n_nodes, 6, seed)
    ends = graph.node_ptr.tolist()

    def apart() -> Tensor:
        q, k, v = (t.view(-1, 2, 3) for t in ours.qkv_proj(x).chunk(3, dim=-1))
        rows = []
        for a, b in pairwise(ends):
            weight = (torch.einsum("thc,shc->hts", q[a:b], k[a:b]) / 3**0.5).softmax(-1)
            rows.append(torch.einsum("hts,shc->thc", weight, v[a:b]).flatten(1))
        return ours.o_proj(torch.cat(rows))

    pairs = [Pair("x", x, x), *(Pair(n, p, p) for n, p in ours.named_parameters())]
    yield from compare("attention, graph by graph", pairs, lambda: ours(x, graph), apart)


def _encodings(seed: int) -> Iterator[Comparison]:
    """Each graph of a batch against torch_geometric: its random walks, and the eigenpairs of its Laplacian.

    A basis of equal eigenvalues is free, so eigenvectors are held to what defines them.
    """
    from torch_geometric.data import Data
    from torch_geometric.transforms import AddRandomWalkPE
    from torch_geometric.utils import get_laplacian, to_dense_adj

    from nexus.models.gnn._encodings import laplacian_encoding, random_walk_encoding

    graph, k = undirected(seed), 3
    walks, pairs = random_walk_encoding(graph, 6, torch.float64), laplacian_encoding(graph, k, torch.float64)
    directed = awkward_graph(seed)[1]  # no way back along its edges
    simple = torch.unique(directed.edge_index, dim=1)
    walk_one = random_walk_encoding(Graph.from_edges(simple, directed.n_nodes), 6, torch.float64)
    yield Comparison("walks, one way", walk_one, _their_walks(AddRandomWalkPE, Data, simple, directed.n_nodes))
    ends = graph.node_ptr.tolist()
    for a, b in pairwise(ends):
        inside = (graph.dst >= a) & (graph.dst < b)
        edges = graph.edge_index[:, inside] - a
        yield Comparison("walks", walks[a:b], _their_walks(AddRandomWalkPE, Data, edges, b - a))
        index, weight = get_laplacian(edges, normalization="sym", num_nodes=b - a, dtype=torch.float64)
        dense = to_dense_adj(index, edge_attr=weight, max_num_nodes=b - a)[0]
        vectors, values = pairs[a:b, :, 0], pairs[a, :, 1]
        yield Comparison("eigenvalues", values, torch.linalg.eigvalsh(dense)[1 : k + 1])
        yield Comparison("eigenvectors", dense @ vectors, vectors * values)
        yield Comparison("orthonormal", vectors.t() @ vectors, torch.eye(k, dtype=torch.float64))


def _their_walks(transform: Any, data: Any, edges: Tensor, size: int) -> Tensor:
    """torch_geometric's random-walk encoding in float64: the transform works in the default type."""
    kept = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        walk: Tensor = transform(6, "walk")(data(edge_index=edges, num_nodes=size)).walk
    finally:
        torch.set_default_dtype(kept)
    return walk


def _signs(seed: int) -> Iterator[Comparison]:
    """Whatever the signs of the eigenvectors, the encoder says the same."""
    from nexus.models.gnn.gps import SignInvariantEncoder

    encoder = randomised(SignInvariantEncoder(4), seed)
    draw = torch.Generator().manual_seed(seed)
    pairs = torch.randn(9, 3, 2, generator=draw, dtype=torch.float64)
    signs = torch.tensor([[[1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]]], dtype=torch.float64)
    yield Comparison("signs turned", encoder(pairs), encoder(pairs * signs))
