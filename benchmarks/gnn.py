"""Graph layers beside torch_geometric's: same shapes, same edges, same machine, one run, in turn.

    python benchmarks/gnn.py                      all layers (about 5 minutes on one core)
    python benchmarks/gnn.py --only GATv2,GPS --rounds 5

Forward is under no_grad; a training step is forward, backward to the input and to all parameters. torch_geometric runs
in every form that it offers for a layer (edges in the order given, edges sorted by target, compressed sparse rows), and
the fastest of them is what the ratio is taken to. Forms are made beforehand, as our graph is. The last two columns are
training steps on a graph that is used once: "unmade" lets nothing be made beforehand, neither here nor there; "made"
compares our step from the bare edges with theirs on the form made beforehand. Writes benchmarks/results/gnn.json.
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


Call = Callable[[Tensor], Tensor]


class Form(NamedTuple):
    """A layer, and what makes of the bare edges a call that maps x to the output."""

    layer: nn.Module
    make: Callable[[], Call]


class Case(NamedTuple):
    """One layer on one graph: ours under the name of "nexus", torch_geometric's in its forms."""

    name: str
    world: World
    forms: dict[str, Form]


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


def ours(layer: nn.Module, world: World, attr: bool = False) -> dict[str, Form]:
    """Our layer; its graph is made of the edges as given."""

    def make() -> Call:
        features = world.attr if attr else None
        graph = Graph.from_edges(world.edges, len(world.x), features, node_ptr=world.graph.node_ptr)
        return lambda x: layer(x, graph)

    return {"nexus": Form(layer, make)}


def theirs(layer: nn.Module, world: World, attr: bool = False, sparse: bool = False, **more: Tensor) -> dict[str, Form]:
    """torch_geometric's layer on the edges as given, sorted by target, and as compressed rows where it takes them."""

    def given(edges: Tensor, features: Tensor) -> Call:
        named = {"edge_attr": features} if attr else {}
        return lambda x: layer(x, edges, **named, **more)

    def sorted_by_target() -> Call:
        order = world.edges[1].argsort(stable=True)
        return given(world.edges.index_select(1, order), world.attr.index_select(0, order) if attr else world.attr)

    def compressed() -> Call:
        size = (len(world.x),) * 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = torch.sparse_coo_tensor(world.edges.flip(0), torch.ones(world.edges.shape[1]), size)
            made = rows.coalesce().to_sparse_csr()
        return lambda x: layer(x, made)

    found = {
        "as given": Form(layer, lambda: given(world.edges, world.attr)),
        "sorted": Form(layer, sorted_by_target),
    }
    return found | ({"sparse rows": Form(layer, compressed)} if sparse else {})


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
    width, edge_dim = world.x.shape[1], world.attr.shape[1]

    def case(name: str, layer: nn.Module, peer: nn.Module, attr: bool = False, **more: Any) -> Case:
        return Case(name, world, {**ours(layer, world, attr), **theirs(peer, world, attr, **more)})

    found = [
        case("GraphSAGE mean", SAGELayer(width, width), pyg.SAGEConv(width, width), sparse=True),
        case("GraphSAGE pool", SAGELayer(width, width, "pool"), pyg.SAGEConv(width, width, aggr="max", project=True)),
        case("GATv2", GATv2Layer(width, width, 4), pyg.GATv2Conv(width, width // 4, 4)),
        case(
            "GATv2 edge features",
            GATv2Layer(width, width, 4, edge_dim=edge_dim),
            pyg.GATv2Conv(width, width // 4, 4, edge_dim=edge_dim),
            attr=True,
        ),
        case("Base GNN", GraphAttention(width, width, 4), pyg.TransformerConv(width, width // 4, 4, beta=True)),
        case(
            "Base GNN edge features",
            GraphAttention(width, width, 4, edge_dim=edge_dim),
            pyg.TransformerConv(width, width // 4, 4, beta=True, edge_dim=edge_dim),
            attr=True,
        ),
        case("Message passing gated", MessagePassing(width), pyg.ResGatedGraphConv(width, width)),
        case(
            "Message passing GRU",
            MessagePassing(width, "linear", "sum", "gru"),
            pyg.GatedGraphConv(width, 1),
            sparse=True,
        ),
    ]
    if world.graph.n_graphs > 1:  # attention over all nodes of one large graph would measure attention only
        mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        gps = pyg.GPSConv(width, pyg.GINEConv(mlp, train_eps=True, edge_dim=edge_dim), heads=4)
        found.append(case("GPS (GINE)", GPSLayer(width, 4, edge_dim=edge_dim), gps, attr=True, batch=world.batch))
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
    """Forward and training step of one case, on forms made beforehand and from the bare edges."""
    made = {name: form.make() for name, form in case.forms.items()}
    result: dict[str, Any] = {}
    with torch.no_grad():
        result["forward"] = measure({name: (lambda f=f: f(case.world.x)) for name, f in made.items()}, rounds)
    x = case.world.x.clone().requires_grad_()

    def step(layer: nn.Module, call: Call) -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        call(x).square().mean().backward()

    layers = {name: form.layer for name, form in case.forms.items()}
    steps = {name: (lambda n=name: step(layers[n], made[n])) for name in made}
    once = {f"{name}, once": (lambda n=name, f=form: step(layers[n], f.make())) for name, form in case.forms.items()}
    times = measure({**steps, **once}, rounds)
    result["train"] = {name: times[name] for name in steps}
    result["once"] = {name: times[f"{name}, once"] for name in steps}
    for kind in ("forward", "train", "once"):
        result[f"{kind}_ratio"] = _fastest_peer(result[kind]) / result[kind]["nexus"]
    result["once_ratio_made"] = _fastest_peer(result["train"]) / result["once"]["nexus"]
    return result


def _fastest_peer(times: dict[str, float]) -> float:
    return min(seconds for name, seconds in times.items() if name != "nexus")


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
    print(f"{'layer and graph':52} {'forward':>22} {'training step':>22} {'used once':>14}")
    print(f"{'':52}" + f" {'ms':>8} {'PyG ms':>7} {'x':>5}" * 2 + f" {'unmade':>8} {'made':>5}")
    for case in cases(options.only):
        row = result["cases"][case.name] = run(case, options.rounds)
        cells = [f"{case.name:52}"]
        for kind in ("forward", "train"):
            ours = row[kind]["nexus"] * 1e3
            cells.append(f"{ours:8.2f} {ours * row[f'{kind}_ratio']:7.2f} {row[f'{kind}_ratio']:5.2f}")
        print(" ".join(cells), f"{row['once_ratio']:8.2f} {row['once_ratio_made']:5.2f}", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
