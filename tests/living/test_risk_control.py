"""The certificate keeps its word over re-drawn calibrations, where a tuned threshold breaks it half the time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nexus.living.risk_control import certify, checked, fixed_sequence, naive_threshold, sequence

GROWTH = 0.3  # P(right | score) = score ** GROWTH for a uniform score: 76.9 % right


def _risk(threshold: float) -> float:
    return 1 - (1 - threshold ** (GROWTH + 1)) / ((GROWTH + 1) * (1 - threshold))


def _draw(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    return score, rng.random(n) < score**GROWTH


def test_the_risk_is_violated_in_at_most_delta_of_the_calibrations_and_naively_in_half():
    n, runs, alpha, delta = 2000, 400, 0.05, 0.05
    kept = broken = naive = 0
    for seed in range(runs):
        score, right = _draw(seed, n)
        found = certify(score, right, alpha, delta, seed=seed).threshold
        kept += found is not None
        broken += found is not None and _risk(found) > alpha
        tuned = naive_threshold(score, right, alpha)
        naive += tuned is not None and _risk(tuned) > alpha
    assert broken / runs <= delta + 3 * math.sqrt(delta * (1 - delta) / runs)
    assert naive / runs > 0.4
    assert kept / runs > 0.6  # it does not hold by refusing everything


def test_the_coverage_bound_holds_for_the_threshold_that_was_chosen():
    low = 0
    for seed in range(300):
        found = certify(*_draw(seed, 5000), 0.05, 0.05, seed=seed)
        low += found.threshold is not None and found.coverage_bound > 1 - found.threshold
        assert found.coverage_bound <= found.coverage
    assert low / 300 <= 0.05


def test_a_score_that_knows_nothing_certifies_nothing_and_says_so():
    rng = np.random.default_rng(0)
    found = certify(rng.random(2000), rng.random(2000) < 0.5, 0.05, 0.05)
    assert found.threshold is None
    assert found.answered == 0
    assert found.coverage_bound == 0
    assert str(found).startswith("feasible: at most 5")
    assert "refuses everything" in str(found)


def test_an_answerer_that_is_always_right_is_let_through():
    found = certify(np.linspace(0, 1, 1000), np.ones(1000), 0.05, 0.05)
    assert found.feasible == 1
    assert found.coverage > 0.98
    assert found.wrong == 0


def test_too_few_questions_certify_nothing():
    assert certify(np.arange(50), np.ones(50), 0.05, 0.05).threshold is None


def test_the_first_failure_ends_the_sequence():
    score = np.arange(400.0)[::-1]
    right = np.ones(400, bool)
    right[100:130] = False  # a stretch of errors; behind it everything is right again
    found = fixed_sequence(score, right, np.array([300.0, 250.0, 0.0]), 0.1, 0.05)
    assert found.threshold == 300
    assert (found.answered, found.wrong) == (100, 0)


def test_the_sequence_reads_scores_of_the_ordering_rows_only_and_falls():
    score = np.random.default_rng(0).random(500)
    found = sequence(score, 0.05, 0.05, 4500)
    assert (np.diff(found) < 0).all()
    assert set(found) <= set(score)
    assert found[-1] == score.min()


def test_equal_scores_are_answered_together():
    found = certify(np.repeat([1.0, 0.0], 1000), np.repeat([True, False], 1000), 0.05, 0.05)
    assert found.threshold == 1
    assert found.wrong == 0
    assert found.answered > 850
    assert found.feasible == pytest.approx(0.5 / 0.95, abs=0.03)


@pytest.mark.parametrize(
    ("score", "right", "match"),
    [([], [], "no two lists"), ([1.0], [1, 0], "no two lists"), ([math.nan], [1], "finite"), ([1.0], [2], "true")],
)
def test_data_that_cannot_be_used_is_refused(score, right, match):
    with pytest.raises(ValueError, match=match):
        checked(score, right)
