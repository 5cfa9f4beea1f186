"""The whole way, the pictures, and the command."""

import numpy as np
import pandas as pd
import pytest

from nexus.causality.discovery.discover import Settings
from nexus.causality.discovery.fci import ARROW, CIRCLE, NONE, PAG, TAIL
from nexus.causality.drawing import draw_effects, draw_graph, layout
from nexus.causality.equivalence import cpdag_of
from nexus.causality.estimation.estimators import Estimate
from nexus.causality.graphs import ADMG, DAG
from nexus.causality.study import CausalStudy
from nexus.cli import main


def _frame(n=400):
    rng = np.random.default_rng(0)
    age = rng.exponential(size=n)
    dose = age + rng.exponential(size=n)
    risk = 2 * dose - age + rng.exponential(size=n)
    return pd.DataFrame({"age": age, "dose": dose, "risk": risk})


def test_from_data_to_an_explained_effect():
    study = CausalStudy(_frame())
    assert study.discover().method == "lingam"
    assert study.graph == DAG.parse("age -> dose, age -> risk, dose -> risk")
    estimate = study.estimate("dose", "risk")
    assert estimate.low < 2.0 < estimate.high
    assert all(r.passed for r in study.refute("dose", "risk"))
    for text in ("because", "back-door: adjust for age", "E-value", "placebo", "identified: age -> dose"):
        assert text in study.explain()
    assert study.intervene({"dose": 3.0}).column("risk").mean() == pytest.approx(6.0, abs=0.4)
    raised = study.counterfactual({"age": 1.0, "dose": 2.0, "risk": 4.0}, {"dose": 3.0})
    assert raised.column("risk")[0] == pytest.approx(6.0, abs=0.3)


def test_open_directions_are_noted_beside_the_estimate():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(500)
    study = CausalStudy({"x": x, "y": x + rng.standard_normal(500)})
    study.discover(Settings(method="boss"))
    assert "x - y were chosen freely" in study.estimate("y", "x").notes[-1]
    with pytest.raises(ValueError, match="says that the effect is 0"):
        study.estimate("x", "y")
    study.set_graph("x -> y")
    assert study.estimate("x", "y").notes == ()


def test_a_graph_without_an_effect_is_said_to_have_none():
    study = CausalStudy(_frame(), "age -> dose, age -> risk")
    assert "speaks against it" in study.estimate("dose", "risk").notes[-1]
    assert "says that there is no effect" in study.explain()
    assert "graph" in {r.name for r in study.refute("dose", "risk") if not r.passed}


def test_what_is_not_there_yet_is_said():
    assert "call discover" in CausalStudy().explain()
    with pytest.raises(ValueError, match="no graph yet"):
        CausalStudy(_frame()).identify("dose", "risk")
    with pytest.raises(ValueError, match="no data yet"):
        CausalStudy(graph="a -> b").estimate("a", "b")
    with pytest.raises(ValueError, match="nothing has been estimated"):
        CausalStudy(_frame()).sensitivity()


def test_every_kind_of_graph_is_drawn(tmp_path):
    dag = DAG.parse("a -> b, b -> c, a -> c")
    pag = PAG("abc", [[NONE, ARROW, NONE], [CIRCLE, NONE, ARROW], [NONE, TAIL, NONE]])
    for number, graph in enumerate((dag, ADMG.parse("a -> b, a <-> b"), cpdag_of(dag), pag)):
        path = tmp_path / f"{number}.png"
        draw_graph(graph, path, {("a", "b"): 0.9})
        assert path.read_bytes().startswith(b"\x89PNG")
    assert pag.edges == ["a o-> b", "b --> c"]
    places = layout(dag.directed)
    assert places[0][1] > places[1][1] > places[2][1]
    assert len(set(places)) == 3
    draw_effects({"one": Estimate(1, 0.1, 0.8, 1.2, "m")}, tmp_path / "e.svg", "title")
    assert "title" in (tmp_path / "e.svg").read_text() or (tmp_path / "e.svg").stat().st_size > 1000


# ---- the command ----------------------------------------------------------------------------------------------------


def _run(capsys, *arguments):
    code = main(["cause", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_command_answers_in_words_and_pictures(tmp_path, capsys):
    _frame(200).to_csv(tmp_path / "d.csv", index=False)
    out = tmp_path / "report"
    code, said, _ = _run(capsys, tmp_path / "d.csv", "--treatment", "dose", "--outcome", "risk", "--out", out,
                         "--bootstrap", 3)  # fmt: skip
    assert code == 0
    assert "effect: " in said
    assert "(100%)" in said
    assert {p.name for p in out.iterdir()} == {"graph.png", "effect.png"}


def test_an_effect_that_is_not_identified_is_answered_with_the_witness(tmp_path, capsys):
    _frame(50).to_csv(tmp_path / "d.csv", index=False)
    code, said, _ = _run(capsys, tmp_path / "d.csv", "--treatment", "dose", "--outcome", "risk", "--out", tmp_path,
                         "--graph", "dose -> risk, dose <-> risk")  # fmt: skip
    assert code == 0
    assert "NOT identified" in said
    assert "hedge" in said
    assert "no effect was estimated" in said


def test_hidden_causes_give_a_pag_and_no_number(tmp_path, capsys):
    _frame(100).to_csv(tmp_path / "d.csv", index=False)
    code, said, _ = _run(capsys, tmp_path / "d.csv", "--treatment", "dose", "--outcome", "risk", "--out", tmp_path,
                         "--hidden", "--bootstrap", 0)  # fmt: skip
    assert code == 0
    assert "method: fci" in said
    assert "no effect was estimated" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--treatment", "q", "--outcome", "risk"], "no column 'q'; they have age, dose, risk"),
        (["--treatment", "dose", "--outcome", "dose", "--graph", "dose -> risk"], "give two variables"),
        (["--treatment", "dose", "--outcome", "risk", "--graph", "dose -> "], "part 1"),
        (
            ["--treatment", "dose", "--outcome", "risk", "--graph", "dose -> risk, risk -> dose"],
            "Causal graph is not DAG",
        ),
        (["--treatment", "dose", "--outcome", "risk", "--method", "magic"], "give one of auto"),
        (["--treatment", "dose", "--outcome", "risk", "--forbid", "dose"], "--forbid: 'dose' is not an edge"),
        (["--treatment", "dose", "--outcome", "risk", "--bootstrap", "-1"], "--bootstrap"),
        (["--treatment", "dose"], "--outcome"),
    ],
)
def test_a_faulty_command_is_one_line_and_exit_2(tmp_path, capsys, options, message):
    _frame(50).to_csv(tmp_path / "d.csv", index=False)
    code, said, error = _run(capsys, tmp_path / "d.csv", "--out", tmp_path, *options)
    assert (code, said) == (2, "")
    assert message in error
    assert error.count("\n") == 1


def test_a_faulty_file_is_answered_by_line_and_column(tmp_path, capsys):
    (tmp_path / "d.csv").write_text("a,b\n1,2\n2,oops\n3,4\n")
    code, _, error = _run(capsys, tmp_path / "d.csv", "--treatment", "a", "--outcome", "b")
    assert code == 2
    assert "line 3, column 'b': 'oops' is not a number; correct it or drop the line" in error
