"""Refuters: planted errors are caught, a sound estimate passes, the E-value is the published one."""

from dataclasses import replace

import numpy as np
import pytest

from nexus.causality.estimation.estimate import estimate_effect
from nexus.causality.estimation.estimators import Estimate
from nexus.causality.estimation.refute import EXTRA, e_value, refute
from nexus.causality.graphs import ADMG
from nexus.causality.identification.identify import identify
from nexus.causality.table import Table

EDGES = "z -> t, z -> y, t -> m, m -> y"


def _world(edges=EDGES, direct=0.0, n=500):
    rng = np.random.default_rng(0)
    z = rng.standard_normal(n)
    t = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    m = t + rng.standard_normal(n)
    y = m + z + direct * t + rng.standard_normal(n)
    table, graph = Table(("z", "t", "m", "y"), np.column_stack([z, t, m, y])), ADMG.parse(edges)
    found = identify(graph, "t", "y")

    def fit(data, drop=()):
        adjust = (found.adjust | ({EXTRA} & set(data.names))) - frozenset(drop)
        return estimate_effect(data, replace(found, adjust=adjust), "g-formula")

    return table, graph, fit


def _failed(table, graph, fit):
    return {r.name for r in refute(table, fit, "t", "y", graph) if not r.passed}


def test_a_sound_estimate_passes():
    assert _failed(*_world()) == set()


def test_an_estimator_that_is_off_is_caught():
    table, graph, fit = _world()
    assert _failed(table, graph, lambda d: replace(fit(d), value=fit(d).value + 0.3)) >= {
        "placebo treatment",
        "dummy outcome",
    }


def test_intervals_that_are_too_narrow_are_caught():
    table, graph, fit = _world()
    assert "subsets" in _failed(table, graph, lambda d: replace(fit(d), std_error=fit(d).std_error / 3))


def test_an_estimator_that_a_new_column_upsets_is_caught():
    table, graph, fit = _world()
    assert "random common cause" in _failed(table, graph, lambda d: fit(d, drop=("z",) if EXTRA in d.names else ()))


@pytest.mark.parametrize(("edges", "direct"), [("z, t -> m, m -> y", 0.0), (EDGES, 1.0)])
def test_a_graph_that_the_data_contradict_is_caught(edges, direct):
    assert "graph" in _failed(*_world(edges, direct))


def test_the_e_value_is_the_published_one():
    # VanderWeele & Ding 2017: a risk ratio of 3.9 has an E-value of 7.26, its lower limit 1.8 one of 3.0.
    spread = np.random.default_rng(0).standard_normal(10)
    scale = spread.std() / 0.91
    estimate = Estimate(np.log(3.9) * scale, 0.0, np.log(1.8) * scale, np.log(8.7) * scale, "given")
    value, nearer = e_value(estimate, spread)
    assert value == pytest.approx(7.26, abs=0.01)
    assert nearer == pytest.approx(3.0, abs=0.01)
    assert e_value(replace(estimate, low=-1.0), spread)[1] == 1.0
