"""Graph layers beside torch_geometric's: same shapes, same edges, same machine, one run, in turn.

    python benchmarks/gnn.py                      all layers (about 5 minutes on one core)
    python benchmarks/gnn.py --only GATv2,GPS --rounds 5

Forward is under no_grad; a training step is forward, backward to the input and to all parameters. torch_geometric runs
in every form that it offers for a layer (edges in the order given, edges sorted by target, compressed sparse rows), and
the fastest of them is what the ratio is taken to. Ours has its edges sorted once, when the graph is made: the last
column is the ratio of training steps if the graph is used for one single step. Writes benchmarks/results/gnn.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch_geometric
from torch import Tensor, nn
from torch_geometric import nn as pyg

from nexus.data.graph import Graph
from nexus.data.graph_sets import molecule
from nexus.models.gnn.base_gnn import GraphAttention
from nexus.models.gnn.gatv2 import GATv2Layer
from nexus.models.gnn.gps import GPSLayer
from nexus.models.gnn.graph_sage import SAGELayer
from nexus.models.gnn.message_passing import MessagePassing

RESULTS = Path(__file__).parent / "results" / "gnn.json"


class World(NamedTuple):
    """A graph to run on: features, edges as given, features of edges, which graph each node is in."""

    x: Tensor
    edges: Tensor
    attr: Tensor
    batch: Tensor
    graph: Graph


class Case(NamedTuple):
    """One layer on one graph: ours, and torch_geometric's in its forms. Each callable maps x to the output."""

    name: str
    world: World
    ours: nn.Module
    peers: dict[str, tuple[nn.Module, Callable[[Tensor], Tensor]]]
    make_graph: Callable[[], Graph]


def random_world(nodes: int, edges: int, width: int, edge_dim: int = 8) -> World:
    """Edges between random nodes."""
    pairs, attr = torch.randint(nodes, (2, edges)), torch.randn(edges, edge_dim)
    graph = Graph.from_edges(pairs, nodes, attr)
    return World(torch.randn(nodes, width), pairs, attr, torch.zeros(nodes, dtype=torch.long), graph)


def molecules_world(count: int, width: int) -> World:
    """A batch of random branched chains of 10 to 29 atoms, as large as QM9's molecules."""
    graphs = []
    for _ in range(count):
        size = int(torch.randint(10, 30, (1,)))
        places, step = [[0.0, 0.0, 0.0]], torch.randn(size, 3)
        for i in range(1, size):
            start = torch.tensor(places[max(0, i - int(torch.randint(1, 3, (1,))))])
            places.append((start + 1.4 * step[i] / step[i].norm()).tolist())
        graphs.append(molecule(["C"] * size, places, 0.0).graph)
    graph = Graph.batch(graphs)
    assert graph.edge_attr is not None
    shuffled = torch.randperm(graph.n_edges)
    x = torch.randn(graph.n_nodes, width)
    return World(x, graph.edge_index[:, shuffled], graph.edge_attr[shuffled], graph.graph_of_node, graph)


def forms(
    layer: nn.Module, world: World, attr: bool = False, sparse: bool = False, **more: Tensor
) -> dict[str, tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """torch_geometric's layer on the edges as given, sorted by target, and as compressed rows where it takes them."""
    order = world.edges[1].argsort(stable=True)
    found: dict[str, tuple[nn.Module, Callable[[Tensor], Tensor]]] = {}
    for name, index in (("as given", slice(None)), ("sorted", order)):
        features = {"edge_attr": world.attr[index]} if attr else {}
        edges = world.edges[:, index].contiguous()
        found[name] = (layer, lambda x, e=edges, f=features: layer(x, e, **f, **more))
    if sparse:
        n = len(world.x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = torch.sparse_coo_tensor(world.edges.flip(0), torch.ones(world.edges.shape[1]), (n, n))
            compressed = rows.coalesce().to_sparse_csr()
        found["sparse rows"] = (layer, lambda x: layer(x, compressed))
    return found


def cases(only: str) -> list[Case]:
    """All layers on all graphs, those whose names hold one of the wanted words."""
    found = []
    for size, world in (
        ("10k nodes 100k edges 64 wide", random_world(10_000, 100_000, 64)),
        ("2k nodes 20k edges 128 wide", random_world(2_000, 20_000, 128)),
        ("128 molecules 64 wide", molecules_world(128, 64)),
    ):
        found += [case._replace(name=f"{case.name}, {size}") for case in layers(world)]
    wanted = only.split(",")
    return [case for case in found if any(word in case.name for word in wanted)]


def layers(world: World) -> list[Case]:
    """Each layer beside its counterpart, on one graph."""
    width, edge_dim, n = world.x.shape[1], world.attr.shape[1], len(world.x)

    def plain() -> Graph:
        return Graph.from_edges(world.edges, n, node_ptr=world.graph.node_ptr)

    def featured() -> Graph:
        return Graph.from_edges(world.edges, n, world.attr, node_ptr=world.graph.node_ptr)

    def case(
        name: str,
        ours: nn.Module,
        peers: dict[str, tuple[nn.Module, Callable[[Tensor], Tensor]]],
        make: Callable[[], Graph],
    ) -> Case:
        return Case(name, world, ours, peers, make)

    gine = pyg.GINEConv(
        nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)), train_eps=True, edge_dim=edge_dim
    )
    found = [
        case("GraphSAGE mean", SAGELayer(width, width), forms(pyg.SAGEConv(width, width), world, sparse=True), plain),
        case(
            "GraphSAGE pool",
            SAGELayer(width, width, "pool"),
            forms(pyg.SAGEConv(width, width, aggr="max", project=True), world),
            plain,
        ),
        case("GATv2", GATv2Layer(width, width, 4), forms(pyg.GATv2Conv(width, width // 4, 4), world), plain),
        case(
            "GATv2 edge features",
            GATv2Layer(width, width, 4, edge_dim=edge_dim),
            forms(pyg.GATv2Conv(width, width // 4, 4, edge_dim=edge_dim), world, attr=True),
            featured,
        ),
        case(
            "Base GNN",
            GraphAttention(width, width, 4),
            forms(pyg.TransformerConv(width, width // 4, 4, beta=True), world),
            plain,
        ),
        case(
            "Base GNN edge features",
            GraphAttention(width, width, 4, edge_dim=edge_dim),
            forms(pyg.TransformerConv(width, width // 4, 4, beta=True, edge_dim=edge_dim), world, attr=True),
            featured,
        ),
        case("Message passing gated", MessagePassing(width), forms(pyg.ResGatedGraphConv(width, width), world), plain),
        case(
            "Message passing GRU",
            MessagePassing(width, "linear", "sum", "gru"),
            forms(pyg.GatedGraphConv(width, 1), world, sparse=True),
            plain,
        ),
    ]
    if world.graph.n_graphs > 1:  # attention over all nodes of one large graph would measure attention only
        gps = pyg.GPSConv(width, gine, heads=4)
        found.append(
            case(
                "GPS (GINE)",
                GPSLayer(width, 4, edge_dim=edge_dim),
                forms(gps, world, attr=True, batch=world.batch),
                featured,
            )
        )
    return found


def measure(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each call; the calls take turns, so that a machine whose speed drifts is fair to all.

    With one thread these are seconds of this process on the processor: waiting for others does not count.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def run(case: Case, rounds: int) -> dict[str, Any]:
    """Forward and training step of one case, and what making the graph costs."""
    graph = case.make_graph()
    calls = {"nexus": (case.ours, lambda x: case.ours(x, graph)), **case.peers}
    result: dict[str, Any] = {}
    with torch.no_grad():
        result["forward"] = measure({name: (lambda f=f: f(case.world.x)) for name, (_, f) in calls.items()}, rounds)
    x = case.world.x.clone().requires_grad_()

    def step(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
        module.zero_grad(set_to_none=True)
        x.grad = None
        forward(x).square().mean().backward()

    result["train"] = measure({name: (lambda m=m, f=f: step(m, f)) for name, (m, f) in calls.items()}, rounds)

    def once() -> None:
        fresh = case.make_graph()
        step(case.ours, lambda x: case.ours(x, fresh))

    whole = measure({"train": lambda: step(*calls["nexus"]), "with graph": once}, rounds)
    result["graph_share"] = whole["with graph"] / whole["train"] - 1
    for kind in ("forward", "train"):
        times = result[kind]
        result[f"{kind}_ratio"] = min(v for k, v in times.items() if k != "nexus") / times["nexus"]
    fastest = min(v for k, v in result["train"].items() if k != "nexus")
    result["train_ratio_with_graph"] = fastest / (result["train"]["nexus"] * (1 + result["graph_share"]))
    return result


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="words, one of which a case's name must hold")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    result: dict[str, Any] = {
        "torch": torch.__version__, "torch_geometric": torch_geometric.__version__, "threads": options.threads,
        "rounds": options.rounds, "cases": {},
    }  # fmt: skip
    print(f"{'layer and graph':52} {'forward':>22} {'training step':>22} {'with graph':>11}")
    print(f"{'':52} {'ms':>8} {'PyG ms':>7} {'x':>5} {'ms':>8} {'PyG ms':>7} {'x':>5} {'x':>11}")
    for case in cases(options.only):
        row = result["cases"][case.name] = run(case, options.rounds)
        cells = [f"{case.name:52}"]
        for kind in ("forward", "train"):
            ours = row[kind]["nexus"] * 1e3
            cells.append(f"{ours:8.2f} {ours * row[f'{kind}_ratio']:7.2f} {row[f'{kind}_ratio']:5.2f}")
        print(" ".join(cells), f"{row['train_ratio_with_graph']:11.2f}", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
