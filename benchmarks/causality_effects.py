"""The other parts of benchmarks/causality.py: identification, estimands, coverage, counterfactuals, refuters."""

from __future__ import annotations

import itertools
import time

import numpy as np

from nexus.causality.estimation.estimate import estimate_effect
from nexus.causality.estimation.estimators import (
    aipw,
    dml,
    from_influence,
    front_door_linear,
    g_formula,
    ipw,
    partially_linear,
    two_stage,
)
from nexus.causality.estimation.refute import EXTRA, refute
from nexus.causality.graphs import ADMG
from nexus.causality.identification.estimand import Joint, Probability, Product, Quotient, Sum, effect_on
from nexus.causality.identification.id_algorithm import NotIdentifiable, identify_effect
from nexus.causality.identification.identify import identify
from nexus.causality.mechanisms import Function, Linear, Neural
from nexus.causality.scm import StructuralModel
from nexus.causality.simulate import DiscreteModel, every_admg, random_admg, random_dag
from nexus.causality.table import Table


def questions(random_ones):
    """Every effect and conditional effect in every ADMG of 3 nodes, and one question for each random ADMG."""
    found = []
    for graph in every_admg(3):
        for x, y, z in itertools.permutations(graph.names):
            found += [(graph, [y], [x], []), (graph, [y], [x], [z])]
        found += [(graph, [y], sorted(set(graph.names) - {y}), []) for y in graph.names]
    rng = np.random.default_rng(0)
    for _ in range(random_ones):
        graph = random_admg(int(rng.integers(4, 7)), 0.4, 0.25, rng)
        names = rng.permutation(graph.names).tolist()
        nx, ny, nz = int(rng.integers(1, 3)), int(rng.integers(1, 3)), int(rng.integers(0, 2))
        nz = min(nz, len(names) - nx - ny)
        cuts = np.cumsum([nx, ny, nz])
        found.append((graph, names[cuts[0] : cuts[1]], names[: cuts[0]], names[cuts[1] : cuts[2]]))
    return found


def as_json(question):
    """A question as the peers read it."""
    graph, y, x, z = question
    return {"names": graph.names, "directed": graph.edges, "bidirected": graph.confounded,
            "outcomes": y, "treatments": x, "conditions": z}  # fmt: skip


def formula(tree):
    """A peer's formula as one of ours, so that both are evaluated by the same code."""
    if "p" in tree:
        return Probability(tuple(tree["p"]), tuple(tree["given"]))
    if "sum" in tree:
        return Sum(tuple(tree["sum"]), formula(tree["body"]))
    if "product" in tree:
        return Product(tuple(map(formula, tree["product"])))
    return Quotient(formula(tree["above"]), formula(tree["below"]))


def answered(question):
    """Our formula, or the hedge."""
    graph, y, x, z = question
    try:
        return identify_effect(graph, y, x, z), None
    except NotIdentifiable as error:
        return None, error.hedge


def gap(question, estimand, rng):
    """Largest difference of a formula from the exact effect, in a random discrete model."""
    graph, y, x, z = question
    model = DiscreteModel.random(graph, rng)
    joint = Joint(graph.names, model.distribution())
    do, given = ({name: int(rng.integers(model.cards[name])) for name in names} for names in (x, z))
    return float(np.abs(effect_on(estimand, joint, y, {**do, **given}) - model.effect(y, do, given)).max())


def identification(bench):
    """The same verdicts as y0, formulas right to 1e-9, every hedge verified."""
    asked = questions(bench.count(2000))
    start = time.perf_counter()
    ours = [answered(question) for question in asked]
    seconds = time.perf_counter() - start
    theirs = bench.peer("identification", {"questions": [as_json(question) for question in asked]})
    rng = np.random.default_rng(1)
    gaps = [gap(question, estimand, rng) for question, (estimand, _) in zip(asked, ours, strict=True) if estimand]
    hedges = [hedge.holds_in(q[0]) for q, (_, hedge) in zip(asked, ours, strict=True) if hedge]
    n = len(asked)
    rows = [
        {"what": f"questions, of them on all 200 ADMGs of 3 nodes: {n - bench.count(2000)}", "figure": n},
        {"what": "identifiable / not", "figure": f"{len(gaps)} / {len(hedges)}"},
        {"what": "our formulas: largest error in random discrete models", "figure": f"{max(gaps):.1e}",
         "target": "at most 1e-9", "kept": max(gaps) <= 1e-9},
        {"what": "our hedges that hold by definition", "figure": f"{sum(hedges)}/{len(hedges)}", "target": "all",
         "kept": all(hedges)},
        {"what": "our time a question", "figure": f"{1000 * seconds / n:.2f} ms"},
    ]  # fmt: skip
    return rows + (_against_y0(asked, ours, theirs) if theirs else [])


def _against_y0(asked, ours, theirs):
    rng = np.random.default_rng(2)
    trees = [t["tree"] for t in theirs]
    same = [(o is None) == (t is None) for (o, _), t in zip(ours, trees, strict=True)]
    wrong = [q for q, t in zip(asked, trees, strict=True) if t is not None and gap(q, formula(t), rng) > 1e-9]
    return [
        {"what": "same verdict as y0", "figure": f"{sum(same)}/{len(same)}", "target": "all", "kept": all(same),
         "differ": [as_json(q) for q, equal in zip(asked, same, strict=True) if not equal][:20]},
        {"what": "of these, y0 stopped with a KeyError and was put right", "figure": sum(t["patched"] for t in theirs)},
        {"what": "y0's formulas that are wrong in a random discrete model", "figure": len(wrong),
         "examples": [as_json(q) for q in wrong[:5]]},
    ]  # fmt: skip


# ---- intervals ------------------------------------------------------------------------------------------------------


def _confounded(rng, n):
    """Three causes of both; the true average effect is 1 and varies with z."""
    z = rng.standard_normal((n, 3))
    t = (rng.random(n) < 1 / (1 + np.exp(-(z @ [0.5, -0.5, 0.3])))).astype(float)
    return z, t, t * (1 + 0.5 * z[:, 0]) + z @ [1.0, 0.5, -1.0] + rng.standard_normal(n)


def _curved(rng, n):
    """As above, with curved nuisances that a forest must learn."""
    z = rng.standard_normal((n, 3))
    t = (rng.random(n) < 1 / (1 + np.exp(-np.sin(1.5 * z[:, 0])))).astype(float)
    return z, t, t + np.cos(z[:, 0]) + np.sin(1.5 * z[:, 0]) + rng.standard_normal(n)


def _draws(kind, rng, n):
    if kind == "instrument":
        u, lever, z = rng.standard_normal((3, n))
        t = lever + u + 0.5 * z + rng.standard_normal(n)
        return two_stage(t + 2 * u + z + rng.standard_normal(n), t, z[:, None], lever), 1.0
    if kind == "front door":
        u = rng.standard_normal(n)
        t = u + rng.standard_normal(n)
        m = 0.8 * t + rng.standard_normal(n)
        return front_door_linear(1.5 * m + 2 * u + rng.standard_normal(n), t, m[:, None]), 1.2
    if kind == "slope":
        z = rng.standard_normal((n, 2))
        t = z @ [1.0, -1.0] + rng.standard_normal(n)
        return partially_linear(t + z @ [1.0, 1.0] + (1 + 0.3 * np.abs(z[:, 0])) * rng.standard_normal(n), t, z), 1.0
    z, t, y = _confounded(rng, n)
    methods = {"g-formula": g_formula, "ipw": ipw, "aipw": aipw}
    return methods[kind](y, t, z), 1.0


def coverage(bench):
    """95 % intervals hold the truth in 93 to 97 % of 1,000 repetitions."""
    rows = []
    for kind in ("g-formula", "ipw", "aipw", "slope", "instrument", "front door"):
        rng = np.random.default_rng(4)
        estimates = [from_influence(*result, kind, 0.95) for result, truth in
                     (_draws(kind, rng, 500) for _ in range(bench.count(1000)))]  # fmt: skip
        truth = 1.2 if kind == "front door" else 1.0
        rows.append(_coverage_row(f"{kind}, n=500", estimates, truth))
    return rows + _beside_dowhy(bench)


def coverage_forests(bench):
    """The same for double machine learning with forests; slower, so fewer repetitions."""
    rng = np.random.default_rng(5)
    forests = []
    for _ in range(bench.count(40)):
        z, t, y = _curved(rng, 1000)
        forests.append(from_influence(*dml(y, t, z), "dml", 0.95))
    return [_coverage_row("dml with forests, curved nuisances, n=1000", forests, 1.0)]


def _coverage_row(what, estimates, truth):
    share = np.mean([e.low <= truth <= e.high for e in estimates])
    bias = np.mean([e.value for e in estimates]) - truth
    row = {"what": f"{what}, {len(estimates)} times (bias {bias:+.4f})", "figure": f"{share:.1%}"}
    return row | ({"target": "93 to 97 %", "kept": 0.93 <= share <= 0.97} if len(estimates) >= 1000 else {})


def _beside_dowhy(bench):
    rng, files, ours, seconds = np.random.default_rng(6), [], [], 0.0
    for number in range(bench.count(5)):
        z, t, y = _confounded(rng, 1000)
        files.append(str(bench.folder / f"effect-{number}.npy"))
        np.save(files[-1], np.column_stack([z, t, y]))
        start = time.perf_counter()
        ours.append(ipw(y, t, z)[0])
        seconds += time.perf_counter() - start
    names = ["z0", "z1", "z2", "t", "y"]
    method = "backdoor.propensity_score_weighting"
    theirs = bench.peer("effect", {"files": files, "names": names, "method": method})
    if not theirs:
        return []
    apart = max(abs(a - b["value"]) for a, b in zip(ours, theirs, strict=True))
    return [
        {"what": f"ipw: largest difference from dowhy over {len(files)} tables", "figure": f"{apart:.1e}"},
        {"what": "ipw: time, ours / dowhy's (without an interval)",
         "figure": f"{1000 * seconds / len(files):.1f} / {1000 * np.mean([t['seconds'] for t in theirs]):.0f} ms"},
    ]  # fmt: skip


# ---- counterfactuals ------------------------------------------------------------------------------------------------


def _known_model(kind, rng):
    graph = random_dag(6, 9, rng)
    mechanisms = {}
    for name in graph.names:
        k = len(graph.parents([name]))
        weights = rng.normal(size=k)
        if kind == "linear" or k == 0:
            mechanisms[name] = Linear(weights, float(rng.normal()))
        elif kind == "additive noise":
            mechanisms[name] = Function(lambda c, w=weights: np.sin(c) @ w + np.tanh(c @ w))
        else:
            mechanisms[name] = _random_network(k, int(rng.integers(1 << 30)))
    noise = {name: (lambda r, n: r.standard_normal(n)) for name in graph.names}
    return StructuralModel(graph, mechanisms, noise)


def _random_network(k, seed):
    import torch
    from torch import nn

    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(k, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    return Neural(net, (np.zeros(k), 0.0), (np.ones(k), 1.0))


def counterfactuals(bench):
    """Exact where the model is known: computed by hand from the units' true noise."""
    rows = []
    for kind in ("linear", "additive noise", "neural"):
        rng, worst = np.random.default_rng(7), 0.0
        for _ in range(bench.count(100)):
            model = _known_model(kind, rng)
            noise = {name: rng.standard_normal(50) for name in model.graph.names}
            target, value = str(rng.choice(model.graph.names)), float(rng.normal())
            seen, wanted = _by_hand(model, noise, None), _by_hand(model, noise, (target, value))
            got = model.counterfactual(seen, {target: value})
            worst = max(worst, float(np.abs(got.values - np.column_stack([wanted[n] for n in got.names])).max()))
        rows.append({"what": f"{kind}: largest error over {bench.count(100)} models of 6 variables, 50 units each",
                     "figure": f"{worst:.1e}", "target": "exact (1e-9)", "kept": worst <= 1e-9})  # fmt: skip
    return rows


def _by_hand(model, noise, action):
    values = {}
    for name in model.graph.order():
        parents = [n for n in model.graph.names if n in model.graph.parents([name])]
        causes = np.column_stack([values[p] for p in parents]) if parents else np.empty((50, 0))
        made = model.mechanisms[name].value(causes, noise[name])
        values[name] = np.full(50, action[1]) if action and action[0] == name else made
    return values


# ---- refuters -------------------------------------------------------------------------------------------------------

PLANTED = ("an estimator that is off", "intervals three times too narrow", "a confounder left out of the graph",
           "a direct effect left out of the graph", "an estimator that a new column upsets")  # fmt: skip


def _case(rng, fault, n=500):
    """Data, graph and estimator; `fault` is what is wrong with them, or None."""
    z, w = rng.standard_normal((2, n))
    t = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    m = t + rng.standard_normal(n)
    y = m + z + 0.5 * w + rng.standard_normal(n)
    edges = "z -> t, z -> y, t -> m, m -> y, w -> y"
    if fault == PLANTED[2]:
        edges = "z, t -> m, m -> y, w -> y"
    if fault == PLANTED[3]:
        y = y + t
    graph = ADMG.parse(edges)
    table = Table(("z", "w", "t", "m", "y"), np.column_stack([z, w, t, m, y]))
    found = identify(graph, "t", "y")
    kind = "aipw" if rng.random() < 0.5 else "g-formula"
    return table, graph, _estimator(found, kind, fault)


def _estimator(found, kind, fault):
    from dataclasses import replace

    def fit(table):
        extra = EXTRA in table.names
        adjust = found.adjust | ({EXTRA} if extra else set())
        if extra and fault == PLANTED[4]:
            adjust -= {"z"}
        estimate = estimate_effect(table, replace(found, adjust=frozenset(adjust)), kind)
        if fault == PLANTED[0]:
            estimate = replace(estimate, value=estimate.value + 0.3)
        if fault == PLANTED[1]:
            estimate = replace(estimate, std_error=estimate.std_error / 3)
        return estimate

    return fit


def refuters(bench):
    """Planted errors are caught in at least 90 %, sound estimates refuted in at most 5 %."""
    rows, rng, caught = [], np.random.default_rng(8), []
    for fault in PLANTED:
        names: dict[str, int] = {}
        hits = 0
        for seed in range(bench.count(60)):
            table, graph, fit = _case(rng, fault)
            failed = [r.name for r in refute(table, fit, "t", "y", graph, seed=seed) if not r.passed]
            hits += bool(failed)
            names |= {name: names.get(name, 0) + 1 for name in failed}
        caught.append(hits / bench.count(60))
        rows.append({"what": f"{fault}: caught (by {names})", "figure": f"{caught[-1]:.0%}", "target": "at least 90 %",
                     "kept": caught[-1] >= 0.9})  # fmt: skip
    alarms = []
    for seed in range(bench.count(400)):
        table, graph, fit = _case(rng, None)
        alarms.append([r.name for r in refute(table, fit, "t", "y", graph, seed=seed) if not r.passed])
    share = np.mean([bool(a) for a in alarms])
    names = sorted(itertools.chain.from_iterable(alarms))
    rows.append({"what": f"sound estimates refuted, of {len(alarms)}", "figure": f"{share:.1%}",
                 "target": "at most 5 %", "kept": share <= 0.05, "by": names})  # fmt: skip
    return rows


PARTS = {
    "identification": identification,
    "coverage": coverage,
    "coverage_forests": coverage_forests,
    "counterfactuals": counterfactuals,
    "refuters": refuters,
}
