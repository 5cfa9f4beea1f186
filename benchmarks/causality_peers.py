"""The peers of benchmarks/causality.py, in an environment of their own: causal-learn, lingam, dagma, dowhy, y0.

They need other versions of NumPy and SciPy than Nexus. Make the environment and pass its Python to the benchmark:

    python -m venv peers
    peers/bin/pip install causal-learn==0.1.4.8 lingam==1.13.0 dowhy==0.14 y0==0.2.11 dagma==1.1.1
    python benchmarks/causality.py --peers peers/bin/python

This file is run by that Python: `causality_peers.py JOB IN OUT`, IN a JSON file with the task, OUT one with the answer.
It must not import nexus.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from importlib import import_module  # by name: they are no dependencies of this project
from importlib.metadata import version

import numpy as np

warnings.filterwarnings("ignore")


def discovery(task):
    """For each data file and method: the matrix that was found ([i, j] for i -> j, both for a line) and the seconds."""
    runs = {"DirectLiNGAM (lingam)": _lingam, "PC (causal-learn)": _pc, "GES (causal-learn)": _ges, "DAGMA": _dagma}
    answer = []
    for path in task["files"]:
        values = np.load(path)
        found = {}
        for name in task["methods"]:
            start = time.perf_counter()
            matrix = runs[name](values)
            found[name] = [np.asarray(matrix).astype(int).tolist(), time.perf_counter() - start]
        answer.append(found)
    return answer


def _lingam(x):
    model = import_module("lingam").DirectLiNGAM()
    model.fit(x)
    return (model.adjacency_matrix_ != 0).T


def _from_marks(marks):
    """causal-learn: [i, j] = -1 and [j, i] = 1 is i -> j; -1 both ways is a line."""
    return marks == -1


def _pc(x):
    return _from_marks(
        import_module("causallearn.search.ConstraintBased.PC").pc(x, alpha=0.01, show_progress=False).G.graph
    )


def _ges(x):
    return _from_marks(import_module("causallearn.search.ScoreBased.GES").ges(x)["G"].graph)


def _dagma(x):
    return import_module("dagma.linear").DagmaLinear(loss_type="l2").fit(x, lambda1=0.02) != 0


def identification(task):
    """For each question: y0's formula as a tree (null: not identifiable), and whether y0 had to be put right for it."""
    return [_y0_answer(question) for question in task["questions"]]


def _y0_answer(question):
    y0, variable = import_module("y0.algorithm.identify"), import_module("y0.dsl").Variable
    graph = import_module("y0.graph").NxMixedGraph.from_edges(
        nodes=[variable(n) for n in question["names"]],
        directed=[(variable(a), variable(b)) for a, b in question["directed"]],
        undirected=[(variable(a), variable(b)) for a, b in question["bidirected"]],
    )
    sets = {key: {variable(n) for n in question[key]} for key in ("outcomes", "treatments", "conditions")}
    solve = y0.idc if sets["conditions"] else y0.identify
    if not sets["conditions"]:
        del sets["conditions"]
    query = y0.Identification.from_parts(graph=graph, **sets)
    try:
        return {"tree": _tree(solve(query)), "patched": False}
    except y0.Unidentifiable:
        return {"tree": None, "patched": False}
    except (
        KeyError,
        import_module("networkx").NetworkXError,
    ):  # y0 0.2.11 loses a variable whose last edge it cuts; that is put right
        with _variables_kept():
            try:
                return {"tree": _tree(solve(query)), "patched": True}
            except y0.Unidentifiable:
                return {"tree": None, "patched": True}


@contextlib.contextmanager
def _variables_kept():
    """Cutting edges leaves every variable in the graph."""
    graph = import_module("y0.graph").NxMixedGraph
    plain = {name: getattr(graph, name) for name in ("remove_in_edges", "remove_out_edges")}

    def keeping(cut):
        def kept(self, vertices):
            result = cut(self, vertices)
            for part in (result.directed, result.undirected):
                part.add_nodes_from(self.nodes())
            return result

        return kept

    for name, cut in plain.items():
        setattr(graph, name, keeping(cut))
    try:
        yield
    finally:
        for name, cut in plain.items():
            setattr(graph, name, cut)


def _tree(e):
    kind = type(e).__name__
    if kind == "Probability":
        return {"p": [v.name for v in e.children], "given": [v.name for v in e.parents]}
    if kind == "Sum":
        return {"sum": [v.name for v in e.ranges], "body": _tree(e.expression)}
    if kind == "Product":
        return {"product": [_tree(f) for f in e.expressions]}
    if kind == "Fraction":
        return {"above": _tree(e.numerator), "below": _tree(e.denominator)}
    if kind == "One":
        return {"product": []}
    raise TypeError(kind)


def effect(task):
    """dowhy's estimates, intervals and refutations on tables with columns t, y and the common causes."""
    answer = []
    for path in task["files"]:
        data = np.load(path)
        frame = import_module("pandas").DataFrame(data, columns=task["names"])
        frame["t"] = frame["t"].astype(bool)
        start = time.perf_counter()
        model = import_module("dowhy").CausalModel(
            frame, treatment="t", outcome="y", common_causes=[n for n in task["names"] if n not in "ty"]
        )
        found = model.identify_effect(proceed_when_unidentifiable=True)
        estimate = model.estimate_effect(found, method_name=task["method"])
        first = time.perf_counter() - start
        refuter = model.refute_estimate(
            found, estimate, method_name="placebo_treatment_refuter", placebo_type="permute", num_simulations=20
        )
        answer.append({"value": float(estimate.value), "seconds": first, "placebo": float(refuter.new_effect),
                       "seconds with a placebo": time.perf_counter() - start})  # fmt: skip
    return answer


def versions(task):
    """The peers' versions."""
    return {name: version(name) for name in ("causal-learn", "lingam", "dagma", "dowhy", "y0", "numpy", "scipy")}


if __name__ == "__main__":
    job, given, out = sys.argv[1:]
    with open(given) as file:
        result = globals()[job](json.load(file))
    with open(out, "w") as file:
        json.dump(result, file)
