"""What the graph models learn: the bars of the zoo, on toy worlds with a known answer and on real graphs.

    python benchmarks/gnn_learning.py                                     the toy worlds and the karate club
    python benchmarks/gnn_learning.py --only qm9 --qm9 FOLDER             molecules: an unpacked qm9pack wheel
    python benchmarks/gnn_learning.py --only wordnet --wordnet data.noun  nouns: Debian's wordnet-base

Prints what was measured beside the bar, and writes benchmarks/results/gnn_learning.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric import nn as pyg

from nexus.data.graph import Graph
from nexus.data.graph_sets import (
    Labelled,
    block_model,
    dictionary_lookup,
    karate_club,
    read_qm9,
    read_wordnet,
    relay,
    skip_links,
)
from nexus.models.gnn import (
    GPS,
    AdaptiveMessagePassing,
    BaseGNN,
    Exphormer,
    GATv2,
    GraphSAGE,
    NeighborSampler,
    random_walk_encoding,
    with_expander,
)

RESULTS = Path(__file__).parent / "results" / "gnn_learning.json"


def fit(module: nn.Module, loss: Callable[[int], Tensor], steps: int, rate: float = 3e-3, decay: float = 0.0) -> None:
    """Adam on a loss that gets the number of the step; the rate falls to zero along a cosine."""
    module.train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        optimiser.zero_grad(set_to_none=True)
        loss(step).backward()
        optimiser.step()
        schedule.step()
    module.eval()


def accuracy(logits: Tensor, y: Tensor) -> float:
    """Share of right answers among nodes that have one."""
    known = y >= 0
    return float((logits[known].argmax(-1) == y[known]).double().mean())


# ---- toy worlds ------------------------------------------------------------------------------------------------------


def csl(seed: int, steps: int = 250) -> dict[str, float]:
    """GPS tells ten kinds of regular graphs apart with random-walk encodings, and cannot without."""
    graphs = skip_links(15, seed=seed)
    place = torch.randperm(len(graphs), generator=torch.Generator().manual_seed(seed))
    train, test = ([graphs[i] for i in part] for part in (place[:100], place[100:]))
    found = {}
    for name, walk_steps in (("with encoding", 20), ("without", 0)):
        torch.manual_seed(seed)
        model = GPS(
            {"d_in": 1, "d_model": 32, "d_out": 10, "n_layers": 2, "n_heads": 2, "pooling": "mean",
             "walk_steps": walk_steps, "d_encoding": 16}
        )  # fmt: skip
        data = [_together(part, walk_steps) for part in (train, test)]
        inputs, y = data[0]
        fit(model, lambda _, i=inputs, y=y, m=model: F.cross_entropy(m(*i), y.long()), steps, 1e-2)
        with torch.no_grad():
            found[name] = accuracy(model(*data[1][0]), data[1][1].long())
    return found


def _together(graphs: list[Labelled], walk_steps: int = 0) -> tuple[tuple[Any, ...], Tensor]:
    graph = Graph.batch([g.graph for g in graphs])
    x, y = torch.cat([g.x for g in graphs]), torch.tensor([g.y for g in graphs])
    return ((x, graph, random_walk_encoding(graph, walk_steps)) if walk_steps else (x, graph)), y


def lookup(seed: int, size: int = 10, steps: int = 400) -> dict[str, float]:
    """One head of GATv2 looks a value up by its key; one of static attention cannot."""

    def batch(first: int, count: int) -> tuple[Tensor, Graph, Tensor]:
        sets = [dictionary_lookup(size, first + i) for i in range(count)]
        x = torch.cat([F.one_hot(s.x, size + 1).flatten(1) for s in sets]).float()
        return x, Graph.batch([s.graph for s in sets]), torch.cat([s.y for s in sets])

    x, graph, y = batch(10_000 * (seed + 1), 100)
    tx, tgraph, ty = batch(10_000 * (seed + 1) + 5_000, 100)
    found = {}
    for attention in ("dynamic", "static"):
        torch.manual_seed(seed)
        layer = {"d_in": 2 * size + 2, "d_out": 128, "n_layers": 1, "n_heads": 1, "self_loops": False}
        model = nn.Sequential()
        model.append(GATv2({**layer, "attention": attention})).append(nn.Linear(128, size))

        def answer(x: Tensor, graph: Graph, model: nn.Sequential = model) -> Tensor:
            out: Tensor = model[1](model[0](x, graph))
            return out

        fit(model, lambda _, f=answer: F.cross_entropy(f(x, graph), y, ignore_index=-1), steps, 1e-2)
        with torch.no_grad():
            found[attention] = accuracy(answer(tx, tgraph), ty)
    return found


def inductive(seed: int, steps: int = 150) -> dict[str, float]:
    """GraphSAGE, trained on samples of one graph, names the blocks of another; its features alone do not tell them."""
    sizes = [120] * 4
    seen = block_model(sizes, 0.12, 0.01, seed=seed)
    # the same centres, other draws: a graph that training never saw
    draw = torch.Generator().manual_seed(1_000 + seed)
    other = block_model(sizes, 0.12, 0.01, seed=500 + seed)
    centres = torch.stack([seen.x[seen.y == c].mean(0) for c in range(4)])
    x_other = centres[other.y] + 2.0 * torch.randn(other.x.shape, generator=draw)
    sampler = NeighborSampler(seen.graph, [10, 10], seed)
    torch.manual_seed(seed)
    ours = GraphSAGE({"d_in": 8, "d_model": 32, "d_out": 4, "n_layers": 2, "aggregator": "mean"})
    peer = pyg.GraphSAGE(8, 32, 2, 4)
    alone = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))

    def sampled(_: int) -> Tensor:
        seeds = torch.randperm(len(seen.y))[:128]
        nodes, blocks = sampler.sample(seeds)
        return F.cross_entropy(ours(seen.x[nodes], blocks), seen.y[seeds])

    fit(ours, sampled, steps, 1e-2)
    fit(peer, lambda _: F.cross_entropy(peer(seen.x, seen.graph.edge_index), seen.y), steps, 1e-2)
    fit(alone, lambda _: F.cross_entropy(alone(seen.x), seen.y), steps, 1e-2)
    with torch.no_grad():
        return {
            "ours, sampled": accuracy(ours(x_other, other.graph), other.y),
            "torch_geometric, whole graph": accuracy(peer(x_other, other.graph.edge_index), other.y),
            "features alone": accuracy(alone(x_other), other.y),
        }


def clubs(seed: int, steps: int = 60) -> dict[str, float]:
    """The base network sorts the karate club from two known members, and blocks from 5 % known nodes."""
    club = karate_club()
    known = torch.tensor([0, 33])
    torch.manual_seed(seed)
    model = BaseGNN({"d_in": 34, "d_model": 16, "d_out": 2, "n_layers": 2, "n_heads": 2})
    fit(model, lambda _: F.cross_entropy(model(club.x, club.graph)[known], club.y[known]), steps, 1e-2, 1e-2)
    rest = torch.ones(34, dtype=torch.bool).index_fill(0, known, False)
    with torch.no_grad():
        found = {"karate club, 32 others": accuracy(model(club.x, club.graph)[rest], club.y[rest])}
    world = block_model([100] * 4, 0.12, 0.01, seed=seed)
    some = torch.randperm(400, generator=torch.Generator().manual_seed(seed))[:40]
    others = torch.ones(400, dtype=torch.bool).index_fill(0, some, False)
    for name in ("ours", "torch_geometric"):
        torch.manual_seed(seed)
        if name == "ours":
            net: nn.Module = BaseGNN({"d_in": 8, "d_model": 32, "d_out": 4, "n_layers": 2, "dropout": 0.2})
            run = lambda net=net: net(world.x, world.graph)  # noqa: E731
        else:
            net = nn.ModuleList(
                (pyg.TransformerConv(8, 8, 4, beta=True, dropout=0.2), nn.LayerNorm(32),
                 pyg.TransformerConv(32, 4, 4, concat=False, beta=True, dropout=0.2))
            )  # fmt: skip

            def run(net: Any = net) -> Tensor:
                h = net[0](world.x, world.graph.edge_index)
                h = F.dropout(F.relu(net[1](h)), 0.2, net.training)
                out: Tensor = net[2](h, world.graph.edge_index)
                return out

        fit(net, lambda _, run=run: F.cross_entropy(run()[some], world.y[some]), steps, 1e-2, 1e-2)
        with torch.no_grad():
            found[f"blocks, {name}"] = accuracy(run()[others], world.y[others])
    return found


def depth(seed: int, steps: int = 400) -> dict[str, float]:
    """Adaptive message passing finds how far the answer is; two rounds cannot reach further than two steps."""
    found = {}
    for length in (2, 4, 6):
        train, test = relay(length, 64, seed), relay(length, 200, seed + 100)
        torch.manual_seed(seed)
        model = AdaptiveMessagePassing(
            {
                "d_in": 3,
                "d_model": 16,
                "d_out": 2,
                "n_layers": 10,
                "depth_mean": 3.0,
                "depth_scale": 4.0,
                "prior_weight": 1e-3,
            }
        )

        def loss(_: int, model: AdaptiveMessagePassing = model, train: Any = train) -> Tensor:
            answers = F.cross_entropy(model(train.x, train.graph), train.y, ignore_index=-1)
            return answers + model.depth_penalty()

        fit(model, loss, steps, 1e-2)
        with torch.no_grad():
            found[f"{length} steps away"] = accuracy(model(test.x, test.graph), test.y)
            found[f"{length} steps away, expected rounds"] = float(model.depth.expected())
    torch.manual_seed(seed)
    short = GraphSAGE({"d_in": 3, "d_model": 16, "d_out": 2, "n_layers": 2})
    fit(short, lambda _: F.cross_entropy(short(train.x, train.graph), train.y, ignore_index=-1), steps, 1e-2)
    with torch.no_grad():
        found["6 steps away, two rounds of GraphSAGE"] = accuracy(short(test.x, test.graph), test.y)
    return found


def far(seed: int, steps: int = 200) -> dict[str, float]:
    """Three layers carry a bit over 20 steps with expander or virtual nodes, and not along the chain alone."""
    train, test = relay(20, 64, seed), relay(20, 200, seed + 100)
    found = {}
    for name, degree, n_virtual in (("expander and virtual", 4, 1), ("virtual node", 0, 1), ("chain alone", 0, 0)):
        torch.manual_seed(seed)
        model = Exphormer(
            {"d_in": 3, "d_model": 32, "d_out": 2, "n_layers": 3, "n_virtual": n_virtual, "norm": "layer"}
        )
        graphs = [with_expander(s.graph, degree, n_virtual, seed) for s in (train, test)]

        def loss(_: int, model: Exphormer = model, graph: Graph = graphs[0]) -> Tensor:
            return F.cross_entropy(model(train.x, graph), train.y, ignore_index=-1)

        fit(model, loss, steps, 5e-3)
        with torch.no_grad():
            found[name] = accuracy(model(test.x, graphs[1]), test.y)
    return found


# ---- real graphs -----------------------------------------------------------------------------------------------------


def qm9(folder: Path, count: int = 6_000, epochs: int = 12) -> dict[str, float]:
    """Gap between highest filled and lowest empty orbital, in eV, of molecules held out; mean absolute error."""
    molecules = read_qm9(folder, count, every=130_000 // count)
    place = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    train, test = [molecules[i] for i in place[count // 10 :]], [molecules[i] for i in place[: count // 10]]
    y = torch.tensor([m.y for m in train])
    mean, spread = y.mean(), y.std()
    truth = torch.tensor([m.y for m in test])
    found = {"molecules": float(count), "always the mean": float((truth - mean).abs().mean())}
    counts = [torch.stack([m.x.sum(0) for m in part]) for part in (train, test)]
    line = torch.linalg.lstsq(F.pad(counts[0], (0, 1), value=1.0), y[:, None], driver="gelsd").solution
    found["least squares on counts"] = float((F.pad(counts[1], (0, 1), value=1.0) @ line - truth[:, None]).abs().mean())
    parts = [_together(train[i : i + 100], 12) for i in range(0, len(train), 100)]
    (tx, tgraph, twalk), _ = _together(test, 12)
    for name, n_heads, local in (("GPS", 4, "gine"), ("GPS, local part alone", 0, "gine")):
        torch.manual_seed(0)
        model = GPS(
            {"d_in": 6, "d_model": 48, "d_out": 1, "n_layers": 3, "n_heads": n_heads, "local": local, "edge_dim": 8,
             "walk_steps": 12, "d_encoding": 12, "pooling": "mean"}
        )  # fmt: skip

        def loss(step: int, model: GPS = model) -> Tensor:
            inputs, y = parts[step % len(parts)]
            return F.l1_loss(model(*inputs)[:, 0], (y - mean) / spread)

        fit(model, loss, epochs * len(parts), 2e-3, 1e-4)
        with torch.no_grad():
            found[name] = float((model(tx, tgraph, twalk)[:, 0] * spread + mean - truth).abs().mean())
    return found


def wordnet(file: Path, steps: int = 300) -> dict[str, float]:
    """Which of 26 fields a noun belongs to, for nouns held out, by sampled GraphSAGE; and from its gloss alone."""
    world = read_wordnet(file)
    draw = torch.Generator().manual_seed(0)
    place = torch.randperm(len(world.y), generator=draw)
    test, train = place[:8_000], place[8_000:]
    sampler = NeighborSampler(world.graph, [10, 5], 0)
    torch.manual_seed(0)
    model = GraphSAGE({"d_in": world.x.shape[1], "d_model": 96, "d_out": 26, "n_layers": 2})
    alone = nn.Sequential(nn.Linear(world.x.shape[1], 192), nn.ReLU(), nn.Linear(192, 26))

    def batch() -> Tensor:
        return train[torch.randint(len(train), (768,), generator=draw).unique()]

    def sampled(_: int) -> Tensor:
        seeds = batch()
        nodes, blocks = sampler.sample(seeds)
        return F.cross_entropy(model(world.x[nodes], blocks), world.y[seeds])

    def flat(_: int) -> Tensor:
        seeds = batch()
        return F.cross_entropy(alone(world.x[seeds]), world.y[seeds])

    fit(model, sampled, steps, 5e-3)
    fit(alone, flat, steps, 5e-3)
    with torch.no_grad():
        return {
            "nouns": float(len(world.y)),
            "GraphSAGE": accuracy(model(world.x, world.graph)[test], world.y[test]),
            "gloss alone": accuracy(alone(world.x[test]), world.y[test]),
            "largest class": float((world.y[test] == world.y[train].mode().values).double().mean()),
        }


# ---- all -------------------------------------------------------------------------------------------------------------

TOYS: dict[str, tuple[str, Callable[[int], dict[str, float]]]] = {
    "csl": ("GPS tells CSL classes apart: 1.00 with encoding, chance (0.10) without", csl),
    "lookup": ("GATv2 solves lookup: 1.00, where static attention cannot", lookup),
    "inductive": ("GraphSAGE on a graph never seen: as torch_geometric, above features alone", inductive),
    "clubs": ("Base GNN: karate club and blocks, as torch_geometric", clubs),
    "depth": ("Adaptive message passing: 1.00 at every distance, two rounds at chance (0.50) beyond theirs", depth),
    "far": ("Exphormer: 1.00 over 20 steps with 3 layers, chance (0.50) along the chain", far),
}


def main() -> None:
    """Parse, train, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join([*TOYS, "qm9", "wordnet"]))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--qm9", type=Path, help="folder that holds qm9pack/data/*.csv")
    parser.add_argument("--wordnet", type=Path, help="the file data.noun")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for name in options.only.split(","):
        start = time.process_time()
        if name in TOYS:
            bar, task = TOYS[name]
            runs = [task(seed) for seed in range(options.seeds)]
        elif name == "qm9" and options.qm9:
            bar, runs = "QM9 gap, eV: below least squares on counts", [qm9(options.qm9)]
        elif name == "wordnet" and options.wordnet:
            bar, runs = "WordNet fields: above the gloss alone", [wordnet(options.wordnet)]
        else:
            continue
        results[name] = {"bar": bar, "runs": runs, "cpu_seconds": time.process_time() - start}
        print(f"\n{bar}   ({results[name]['cpu_seconds']:.0f} s)")
        for key in runs[0]:
            print(f"  {key:44}", "  ".join(f"{run[key]:8.3f}" for run in runs), flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
