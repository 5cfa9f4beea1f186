"""Structural models: counterfactuals exact on known models, do() as the truth has it, fits that recover it."""

import numpy as np
import pytest
import torch
from torch import nn

from nexus.causality.graphs import ADMG
from nexus.causality.mechanisms import Function, Linear, Neural
from nexus.causality.scm import StructuralModel

GRAPH = ADMG.parse("a -> b, a -> c, b -> c")


def _normal(rng, n):
    return rng.standard_normal(n)


def _neural(k, seed):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(k, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    return Neural(net, (np.zeros(k), 0.0), (np.ones(k), 1.0))


def _model(kind):
    kinds = {
        "linear": (Linear(np.array([2.0]), 1.0), Linear(np.array([-1.0, 0.5]))),
        "additive": (Function(lambda x: np.sin(x[:, 0])), Function(lambda x: x[:, 0] * x[:, 1])),
        "neural": (_neural(1, 0), _neural(2, 1)),
    }
    mechanisms = dict(zip("abc", [Linear(np.empty(0)), *kinds[kind]], strict=True))
    return StructuralModel(GRAPH, mechanisms, dict.fromkeys("abc", _normal))


@pytest.mark.parametrize("kind", ["linear", "additive", "neural"])
def test_counterfactuals_are_exact_on_known_models(kind):
    model, rng = _model(kind), np.random.default_rng(0)
    noise = {name: rng.standard_normal(20) for name in "abc"}

    def world(b=None):
        a = noise["a"]
        b = model.mechanisms["b"].value(a[:, None], noise["b"]) if b is None else np.full(20, b)
        return np.column_stack([a, b, model.mechanisms["c"].value(np.column_stack([a, b]), noise["c"])])

    got = model.counterfactual(world(), {"b": 0.7})
    np.testing.assert_allclose(got.values, world(0.7), atol=1e-9)
    np.testing.assert_allclose(model.counterfactual(world(), {}).values, world(), atol=1e-9)


def test_pearls_example_by_hand():
    # Pearl, Glymour & Jewell 2016, section 4.2.3: X = U1, H = 0.5 X + U2, Y = 0.7 X + 0.4 H + U3; Joe had x = 0.5,
    # h = 1, y = 1.5. Had he done twice the homework, his score would have been 1.9.
    graph = ADMG.parse("x -> h, x -> y, h -> y")
    mechanisms = {"x": Linear(np.empty(0)), "h": Linear(np.array([0.5])), "y": Linear(np.array([0.7, 0.4]))}
    model = StructuralModel(graph, mechanisms, dict.fromkeys("xhy", _normal))
    joe = {"x": 0.5, "h": 1.0, "y": 1.5}
    assert {name: round(float(u[0]), 10) for name, u in model.abduct(joe).items()} == {"x": 0.5, "h": 0.75, "y": 0.75}
    assert model.counterfactual(joe, {"h": 2.0}).column("y")[0] == pytest.approx(1.90)


@pytest.mark.parametrize("kind", ["linear", "additive", "neural"])
def test_a_fitted_model_answers_do_as_the_truth_does(kind):
    data = _model("linear" if kind == "linear" else "additive").sample(1500, seed=1)
    fitted = StructuralModel.fit(data, GRAPH, "linear" if kind == "linear" else kind)
    truth = _model("linear" if kind == "linear" else "additive")
    for value in (-1.0, 1.0):
        got, wanted = (m.sample(20_000, {"b": value}, seed=2).column("c").mean() for m in (fitted, truth))
        assert got == pytest.approx(wanted, abs=0.15 if kind == "linear" else 0.25)


def test_a_policy_acts_on_what_would_have_been():
    model = _model("linear")
    seen = model.sample(10, seed=0)
    raised = model.counterfactual(seen, {"b": lambda b: b + 1})
    np.testing.assert_allclose(raised.column("c") - seen.column("c"), 0.5, atol=1e-9)


def test_seeing_is_not_doing():
    model = _model("linear")
    seen = model.sample(20_000, seed=0)
    near = np.abs(seen.column("b") - 3) < 0.3
    assert abs(seen.column("a")[near].mean()) > 0.5
    assert abs(model.sample(20_000, {"b": 3.0}, seed=0).column("a").mean()) < 0.05


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: StructuralModel(ADMG.parse("a <-> b"), {}, {}), "a <-> b: a structural model needs"),
        (lambda: StructuralModel(GRAPH, {}, {}), "'a' has no mechanism"),
        (lambda: _model("linear").sample(5, {"q": 1.0}), "do names 'q'"),
        (lambda: _model("linear").counterfactual({"a": 1.0}, {}), "units lack 'b'"),
        (lambda: _model("linear").counterfactual([[1.0, 2.0]], {}), "2 values"),
        (lambda: StructuralModel.fit(_model("linear").sample(50), GRAPH, "cubic"), "give one of linear"),
    ],
)
def test_faulty_questions_are_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()
