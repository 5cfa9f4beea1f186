"""The discovery parts of benchmarks/causality.py: non-Gaussian, Gaussian, choice of the method, Sachs."""

from __future__ import annotations

import csv
import time

import numpy as np

from nexus.causality.discovery.baselines import baseline_graphs
from nexus.causality.discovery.discover import Settings, discover
from nexus.causality.equivalence import as_matrix, cpdag_of, extend, shd
from nexus.causality.graphs import DAG
from nexus.causality.simulate import curved_data, linear_data, random_dag
from nexus.causality.table import Table, standardise

# Sachs et al. 2005, Table 1 and supplement: cells in each condition, in the order of the file, and what was acted upon.
SACHS_CELLS = (853, 902, 911, 723, 810, 799, 848, 913, 707)
SACHS_TARGETS = ((), (), ("pakts473",), ("PKC",), ("PIP2",), ("pmek",), ("pakts473",), ("PKC",), ("PKA",))


def _worlds(bench, seeds, d, noise):
    """Standardised data of ER2 graphs with exactly 2 d edges, and the files for the peers."""
    worlds, files = [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        graph = random_dag(d, 2 * d, rng)
        values = standardise(linear_data(graph, 1000, noise, rng))
        worlds.append((graph, values))
        files.append(str(bench.folder / f"{noise}-{d}-{seed}.npy"))
        np.save(files[-1], values)
    return worlds, files


def _dag_or_class(matrix):
    """A CPDAG's matrix: a DAG is completed to its class, a graph with lines is taken as it is."""
    matrix = np.asarray(matrix, dtype=bool)
    if (matrix & matrix.T).any():
        return matrix
    try:
        return cpdag_of(DAG([f"x{i}" for i in range(len(matrix))], matrix)).matrix
    except ValueError:  # a peer's graph with a cycle stays what it is
        return matrix


SLOW = ("GES (causal-learn)", "DAGMA", "Nexus log_det")  # these see the first worlds only
FIRST = 2


def _peers(bench, files, wanted):
    """For each world what the peers found; None without them."""
    quick = bench.peer("discovery", {"files": files, "methods": [name for name in wanted if name not in SLOW]})
    slow = [name for name in wanted if name in SLOW and bench.slow]
    if quick and slow:
        late = bench.peer("discovery", {"files": files[:FIRST], "methods": slow})
        return [found | (late[k] if k < FIRST else {}) for k, found in enumerate(quick)]
    return quick


def _distances(worlds, methods, peers, distance):
    """name -> (distances over the worlds, seconds)."""
    table = {}
    for number, (graph, values) in enumerate(worlds):
        for name, settings in methods.items():
            if name in SLOW and number >= FIRST:
                continue
            start = time.perf_counter()
            found = discover(values, settings)
            entry = table.setdefault(name, ([], []))
            entry[1].append(time.perf_counter() - start)
            entry[0].append(distance(as_matrix(found.graph), graph))
        for name, matrix in baseline_graphs(values, number).items():
            table.setdefault(name, ([], []))[0].append(distance(matrix, graph))
        for name, (matrix, seconds) in (peers[number] if peers else {}).items():
            entry = table.setdefault(name, ([], []))
            entry[0].append(distance(np.array(matrix, dtype=bool), graph))
            entry[1].append(seconds)
    return table


def _rows(table, label):
    for name, (distances, seconds) in table.items():
        spent = f", {np.mean(seconds):.2f} s" if seconds else ""
        spread = f"{np.mean(distances):.2f} ± {np.std(distances) / np.sqrt(len(distances)):.2f}"
        yield {
            "what": f"{label}: {name}{spent}, {len(distances)} worlds",
            "figure": spread,
            "distances": [float(x) for x in distances],
        }


def non_gaussian(bench):
    """SHD at most DirectLiNGAM's on standardised exponential ER2, d = 20, n = 1000."""
    methods = {"Nexus, method chosen": Settings(), "Nexus log_det": Settings(method="log_det")}
    return _against_lingam(bench, 20, 10, methods, ["DirectLiNGAM (lingam)", "PC (causal-learn)", "DAGMA"])


def non_gaussian_50(bench):
    """The same at d = 50."""
    return _against_lingam(bench, 50, 4, {"Nexus, method chosen": Settings()}, ["DirectLiNGAM (lingam)"])


def _against_lingam(bench, d, count, methods, wanted):
    worlds, files = _worlds(bench, range(1000, 1000 + bench.count(count)), d, "exponential")
    peers = _peers(bench, files, wanted)
    table = _distances(worlds, methods, peers, lambda m, g: shd(extend(m) if (m & m.T).any() else m, g.directed))
    rows = list(_rows(table, f"SHD, d={d}"))
    if peers:
        mine, theirs = (np.mean(table[name][0]) for name in ("Nexus, method chosen", "DirectLiNGAM (lingam)"))
        rows.append({"what": f"d={d}: Nexus against DirectLiNGAM", "figure": f"{mine:.2f} / {theirs:.2f}",
                     "target": "at most DirectLiNGAM's SHD", "kept": bool(mine <= theirs)})  # fmt: skip
    return rows


def gaussian(bench):
    """CPDAG distance at most 0.8 of PC's and below the empty graph's, on standardised Gaussian ER2, d = 20."""
    worlds, files = _worlds(bench, range(2000, 2000 + bench.count(10)), 20, "gaussian")
    wanted = ["PC (causal-learn)", "GES (causal-learn)", "DirectLiNGAM (lingam)", "DAGMA"]
    peers = _peers(bench, files, wanted)
    ours = {
        "Nexus, method chosen": Settings(),
        "Nexus pc": Settings(method="pc"),
        "Nexus log_det": Settings(method="log_det"),
    }
    table = _distances(worlds, ours, peers, lambda m, g: shd(_dag_or_class(m), cpdag_of(g).matrix))
    rows = list(_rows(table, "CPDAG distance, d=20"))
    mine, empty = np.mean(table["Nexus, method chosen"][0]), np.mean(table["empty graph"][0])
    pc = np.mean(table["PC (causal-learn)" if peers else "Nexus pc"][0])
    rows.append(
        {"what": "Nexus / PC", "figure": f"{mine / pc:.3f}", "target": "at most 0.8", "kept": bool(mine <= 0.8 * pc)}
    )
    worst = max(table["Nexus, method chosen"][0])
    rows.append({"what": "Nexus (worst seed) / empty graph", "figure": f"{worst:.0f} / {empty:.0f}",
                 "target": "below the empty graph", "kept": bool(worst < empty)})  # fmt: skip
    return rows


def choice(bench):
    """The method that suits the data's make is chosen in 95 %."""
    right_for = {"gaussian": "boss", "exponential": "lingam", "uniform": "lingam", "laplace": "lingam",
                 "gumbel": "lingam", "curved": "additive", "discrete": "discrete"}  # fmt: skip
    rows, right, total = [], 0, 0
    for kind, method in right_for.items():
        chosen = [_chosen(kind, seed) for seed in range(bench.count(40))]
        hits = sum(name == method for name in chosen)
        right, total = right + hits, total + len(chosen)
        others = {name: chosen.count(name) for name in set(chosen) - {method}}
        rows.append(
            {"what": f"{kind} -> {method}" + (f", else {others}" if others else ""), "figure": f"{hits}/{len(chosen)}"}
        )
    share = right / total
    rows.append({"what": "all together", "figure": f"{share:.1%}", "target": "at least 95 %", "kept": share >= 0.95})
    return rows


def _chosen(kind, seed):
    from nexus.causality.discovery.choice import choose

    rng = np.random.default_rng(3000 + seed)
    graph = random_dag(10, 20, rng)
    if kind == "curved":
        values = curved_data(graph, 1000, "gaussian", rng)
    elif kind == "discrete":
        values = np.digitize(linear_data(graph, 1000, "gaussian", rng), [-1, 1]).astype(float)
    else:
        values = linear_data(graph, 1000, kind, rng)
    free = ~np.eye(10, dtype=bool)
    return choose(Table(graph.names, values), free, np.zeros_like(free), hidden=False, interventions=False).method


def sachs(bench):
    """Directed SHD below the empty graph's 18 on real cells."""
    if bench.sachs is None:
        return [{"what": "left out: --sachs was not given", "figure": ""}]
    names, values, truth = _sachs_files(*bench.sachs)
    regime = np.repeat(np.arange(9), SACHS_CELLS)
    logs = np.log(values)
    within = np.concatenate([standardise(logs[regime == r]) for r in range(9)])
    path = str(bench.folder / "sachs.npy")
    raw = str(bench.folder / "sachs-raw.npy")
    np.save(path, within)
    np.save(raw, values)
    methods = ["PC (causal-learn)", "GES (causal-learn)", "DirectLiNGAM (lingam)", "DAGMA"]
    methods = [name for name in methods if bench.slow or name not in SLOW]
    peers = bench.peer("discovery", {"files": [path, raw], "methods": methods})
    data = {"all cells, log, standardised within each condition": within, "all cells, as they are": values,
            "853 observed cells, log": logs[:853]}  # fmt: skip
    rows = [{"what": "empty graph", "figure": int(truth.sum())}]
    acted = [SACHS_TARGETS[r] for r in regime]
    found = discover(Table(names, within), interventions=acted)
    rows.append(_sachs_row("Nexus, method chosen, interventions used", found.graph, truth, found.method, target=True))
    for label, table in data.items():
        for method in ("auto", "boss", "pc", "lingam"):
            graph = discover(Table(names, table), Settings(method=method))
            rows.append(_sachs_row(f"Nexus {method}, {label}", graph.graph, truth, graph.method))
    for number, label in enumerate(("within conditions", "as they are")):
        for name, (matrix, _) in (peers[number] if peers else {}).items():
            rows.append(_sachs_row(f"{name}, {label}", np.array(matrix, dtype=bool), truth, name))
    rows += [_sachs_row(f"{n}, within conditions", m, truth, n) for n, m in baseline_graphs(within).items()]
    return rows


def _sachs_files(data, target):
    with open(data) as file:
        lines = list(csv.reader(file))
    names, values = tuple(lines[0]), np.array(lines[1:], dtype=float)
    with open(target) as file:
        edges = list(csv.reader(file))[1:]
    truth = np.zeros((len(names), len(names)), dtype=bool)
    for cause, effect in edges:
        truth[names.index(cause), names.index(effect)] = True
    return names, values, truth


def _sachs_row(what, graph, truth, method, target=False):
    matrix = as_matrix(graph)
    directed = matrix & ~matrix.T
    distance, joins = shd(matrix, truth), shd(matrix | matrix.T, truth | truth.T)
    detail = f"{what} [{method}]: {int(np.triu(matrix | matrix.T).sum())} edges, {int((directed & truth).sum())} right"
    row = {"what": f"{detail}, skeleton {joins}", "figure": distance}
    return row | ({"target": "below 18", "kept": distance < 18} if target else {})


PARTS = {
    "non_gaussian": non_gaussian,
    "non_gaussian_50": non_gaussian_50,
    "gaussian": gaussian,
    "choice": choice,
    "sachs": sachs,
}
