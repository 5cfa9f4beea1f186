"""Estimates: the textbook paradoxes, agreement with closed forms, intervals that hold, refusals with a witness."""

import numpy as np
import pytest

from nexus.causality.estimation.estimate import estimate_effect
from nexus.causality.estimation.estimators import (
    aipw,
    dml,
    first_stage_f,
    from_influence,
    front_door_linear,
    g_formula,
    ipw,
    partially_linear,
    two_stage,
)
from nexus.causality.estimation.regression import logistic, sigmoid
from nexus.causality.identification.identify import identify
from nexus.causality.study import CausalStudy
from nexus.causality.table import as_table


def _confounded(rng, n=500):
    z = rng.standard_normal((n, 2))
    t = (rng.random(n) < sigmoid(z @ [0.6, -0.5])).astype(float)
    return z, t, t * (1 + 0.5 * z[:, 0]) + z @ [1.0, 0.5] + rng.standard_normal(n)


@pytest.mark.parametrize("method", [g_formula, ipw, aipw])
def test_intervals_hold_the_truth_as_often_as_they_say(method):
    rng, inside = np.random.default_rng(0), 0
    for _ in range(200):
        z, t, y = _confounded(rng)
        estimate = from_influence(*method(y, t, z), "m", 0.95)
        inside += estimate.low <= 1.0 <= estimate.high
    assert 180 <= inside <= 199  # 190 expected; 1,000 repetitions in benchmarks/causality.py


def test_simpsons_paradox_is_resolved():
    # Charig et al. 1986, kidney stones: A is better for small and for large ones, and looks worse when they are pooled.
    counts = {(0, 1, 1): 81, (0, 1, 0): 6, (0, 0, 1): 234, (0, 0, 0): 36, (1, 1, 1): 192, (1, 1, 0): 71, (1, 0, 1): 55,
              (1, 0, 0): 25}  # fmt: skip
    rows = np.repeat(np.array(list(counts)), list(counts.values()), axis=0).astype(float)
    table = as_table(rows, ["large", "a", "cured"])
    by_hand = (357 / 700) * (81 / 87 - 234 / 270) + (343 / 700) * (192 / 263 - 55 / 80)
    graph = "large -> a, large -> cured, a -> cured"
    assert CausalStudy(table, "a -> cured, large").estimate("a", "cured").value < 0
    for method in ("g-formula", "ipw", "id"):
        assert CausalStudy(table, graph).estimate("a", "cured", method).value == pytest.approx(by_hand, abs=1e-9)
    assert by_hand > 0


def test_a_binary_saturated_model_makes_all_estimators_agree():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, (400, 1)).astype(float)
    t = (rng.random(400) < 0.3 + 0.4 * z[:, 0]).astype(float)
    y = t + z[:, 0] + rng.standard_normal(400)
    values = [g_formula(y, t, z)[0], ipw(y, t, z)[0], aipw(y, t, z, folds=1)[0]]
    np.testing.assert_allclose(values, values[0], atol=1e-8)


def test_double_robustness_either_model_may_be_wrong():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((20_000, 1))
    t = (rng.random(20_000) < sigmoid(z[:, 0])).astype(float)
    curved = t + z[:, 0] ** 3 + rng.standard_normal(20_000)  # the outcome model is wrong, the propensity is right
    assert aipw(curved, t, z)[0] == pytest.approx(1.0, abs=0.15)
    t_curved = (rng.random(20_000) < sigmoid(z[:, 0] ** 2 - 1)).astype(float)  # the other way round
    assert aipw(t_curved + z[:, 0] + rng.standard_normal(20_000), t_curved, z)[0] == pytest.approx(1.0, abs=0.06)
    assert abs(g_formula(curved, t, z)[0] - 1.0) > 0.2


def test_forests_learn_curved_nuisances():
    rng = np.random.default_rng(0)
    z = rng.uniform(-2, 2, (1500, 1))
    t = np.sin(2 * z[:, 0]) + rng.standard_normal(1500)
    y = t + 2 * np.sin(2 * z[:, 0]) + rng.standard_normal(1500)
    assert dml(y, t, z)[0] == pytest.approx(1.0, abs=0.12)
    assert abs(partially_linear(y, t, z)[0] - 1.0) > 0.3


def test_instrument_and_front_door_see_past_an_unmeasured_cause():
    rng = np.random.default_rng(0)
    u, lever = rng.standard_normal((2, 5000))
    t = lever + u + rng.standard_normal(5000)
    y = t + 2 * u + rng.standard_normal(5000)
    nothing = np.empty((5000, 0))
    assert two_stage(y, t, nothing, lever)[0] == pytest.approx(1.0, abs=0.1)
    assert first_stage_f(t, nothing, lever) > 100
    assert partially_linear(y, t, nothing)[0] > 1.4
    m = 0.8 * t + rng.standard_normal(5000)
    y = 1.5 * m + 2 * u + rng.standard_normal(5000)
    assert front_door_linear(y, t, m[:, None])[0] == pytest.approx(1.2, abs=0.15)


def test_the_way_is_taken_that_exists():
    rng = np.random.default_rng(0)
    z, t, y = _confounded(rng)
    table = as_table({"z": z[:, 0], "w": z[:, 1], "t": t, "y": y})
    full = identify("z -> t, z -> y, w -> t, w -> y, t -> y", "t", "y")
    assert estimate_effect(table, full).method == "aipw"
    lever = identify("z -> t, t -> y, t <-> y", "t", "y")
    assert estimate_effect(table, lever).method == "instrument z"
    with pytest.raises(ValueError, match=r"not identified .* hedge: .*find an instrument"):
        estimate_effect(table, identify("t -> y, t <-> y", "t", "y"))
    with pytest.raises(ValueError, match="give one of"):
        estimate_effect(table, full, "ols")
    with pytest.raises(ValueError, match="level = 2"):
        estimate_effect(table, full, level=2)
    with pytest.raises(ValueError, match="needs a treatment with two values"):
        estimate_effect(table, identify("w -> z, z -> y", "z", "y"), "ipw")


def test_the_formula_of_id_is_estimated_on_discrete_data():
    rng = np.random.default_rng(0)
    n = 20_000
    u = rng.random(n) < 0.5
    x = (rng.random(n) < 0.2 + 0.6 * u).astype(float)
    m = (rng.random(n) < 0.2 + 0.6 * x).astype(float)
    y = (rng.random(n) < 0.1 + 0.4 * m + 0.4 * u).astype(float)
    estimate = CausalStudy({"x": x, "m": m, "y": y}, "x -> m, m -> y, x <-> y").estimate("x", "y")
    assert estimate.method == "id"
    assert estimate.low < 0.24 < estimate.high
    assert estimate.value == pytest.approx(0.24, abs=0.03)


def test_no_overlap_is_said():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(500)
    with pytest.raises(ValueError, match="do not overlap"):
        logistic(np.column_stack([np.ones(500), z]), (z > 0).astype(float))
    t = (rng.random(500) < sigmoid(6 * z)).astype(float)
    study = CausalStudy({"z": z, "t": t, "y": t + z + rng.standard_normal(500)}, "z -> t, z -> y, t -> y")
    assert "hardly any counterpart" in study.estimate("t", "y").notes[0]


def test_text_columns_serve_as_treatment_and_covariate():
    rng = np.random.default_rng(0)
    kind = rng.choice(["a", "b", "c"], 600)
    arm = np.where(rng.random(600) < np.select([kind == "a", kind == "b"], [0.3, 0.5], 0.7), "new", "old")
    y = 1.0 * (arm == "old") + np.select([kind == "a", kind == "b"], [0.0, 2.0], -1.0) + rng.standard_normal(600)
    study = CausalStudy({"kind": kind, "arm": arm, "y": y}, "kind -> arm, kind -> y, arm -> y")
    estimate = study.estimate("arm", "y")
    assert estimate.low < 1.0 < estimate.high  # "old" is the larger code
    assert estimate.p_value < 1e-6
