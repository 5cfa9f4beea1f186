"""What an effect can be where the data leave directions open: all of the class, and nothing else."""

import itertools

import numpy as np
import pytest

from nexus.causality.equivalence import CPDAG, cpdag_of
from nexus.causality.estimation.possible import possible_causes, possible_effects
from nexus.causality.graphs import DAG
from nexus.causality.report import Question, report
from nexus.causality.table import as_table

NAMES = "abcde"


def all_dags(n: int) -> list[DAG]:
    """Every DAG over n nodes."""
    pairs = list(itertools.combinations(range(n), 2))
    found = []
    for directions in itertools.product((0, 1, 2), repeat=len(pairs)):
        matrix = np.zeros((n, n), dtype=bool)
        for (i, j), direction in zip(pairs, directions, strict=True):
            matrix[(i, j) if direction == 1 else (j, i)] = direction > 0
        power = matrix.copy()
        for _ in range(n):
            power = power | (power @ matrix)
        if not power.diagonal().any():
            found.append(DAG(NAMES[:n], matrix))
    return found


def test_the_sets_of_causes_are_those_of_all_graphs_of_the_class():
    classes: dict[CPDAG, list[DAG]] = {}
    for dag in all_dags(4):
        classes.setdefault(cpdag_of(dag), []).append(dag)
    assert (len(classes), sum(map(len, classes.values()))) == (185, 543)  # the known numbers
    for graph, members in classes.items():
        for name in graph.names:
            assert set(possible_causes(graph, name)) == {frozenset(dag.parents([name])) - {name} for dag in members}


def test_knowledge_narrows_the_sets():
    chain = np.zeros((3, 3), dtype=bool)
    chain[[0, 1, 1, 2], [1, 0, 2, 1]] = True  # a - b - c
    assert possible_causes(CPDAG("abc", chain), "b") == [frozenset(), frozenset("a"), frozenset("c")]
    chain[1, 0] = False  # a -> b is known, so b -> c follows: anything else were a new collider
    assert possible_causes(CPDAG("abc", chain), "b") == [frozenset("a")]


def confounded(rows: int = 4_000) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    z = draw.normal(size=rows)
    t = z + draw.normal(size=rows)
    return {"z": z, "t": t, "y": 2 * t + z + draw.normal(size=rows)}


def test_the_truth_is_among_the_effects_and_the_outcome_as_a_cause_means_none():
    table = as_table(confounded())
    graph = cpdag_of(DAG("zty", np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]], dtype=bool)))
    found = {
        effect.causes: effect.estimate for effect in possible_effects(table, possible_causes(graph, "t"), "t", "y")
    }
    assert set(found) == {frozenset(), frozenset("z"), frozenset("y"), frozenset("zy")}
    assert found[frozenset("y")] is None
    assert found[frozenset("zy")] is None
    assert found[frozenset("z")].low < 2 < found[frozenset("z")].high
    assert found[frozenset()].value == pytest.approx(2.5, abs=0.1)  # 2 + cov(z, t) / var(t)


def test_the_report_does_not_call_it_identified(tmp_path):
    path = tmp_path / "data.csv"
    columns = confounded(500)
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(f"{v:.4f}" for v in row) for row in rows)]) + "\n")
    question = {"data": str(path), "treatment": "t", "outcome": "y", "bootstrap": 0, "out": str(tmp_path / "out")}
    text = report(Question(**question))
    assert "NOT identified" in text
    assert "if its causes are z:" in text
    assert "one of the graphs that fit" in text
    settled = report(Question(**question, tiers="z;t;y"))
    assert "effect of t on y: identified" in settled
    assert "one of the graphs" not in settled
