"""The areas equal their definitions, computed the slow way."""

from __future__ import annotations

import numpy as np
import pytest

from nexus.living.risk_coverage import augrc, aurc, curve, draw


def test_augrc_is_the_probability_of_a_silent_failure():
    """For a random question and a random cut: both orders of a pair count, as in the paper's equation 6."""
    rng = np.random.default_rng(1)
    score, right = rng.permutation(3000) / 3000, rng.random(3000) < 0.7
    ranks = np.argsort(np.argsort(-score))  # 0 for the surest: it is answered at nearly every cut
    slow = np.mean((~right) * (1 - (ranks + 0.5) / 3000))
    assert augrc(score, right) == pytest.approx(slow, abs=1e-9)


def test_a_perfect_score_and_a_useless_one():
    right = np.arange(1000) >= 300
    assert augrc(right, right) == pytest.approx(0.3**2 / 2)
    assert augrc(np.zeros(1000), right) == pytest.approx(0.3 / 2)  # chance: one step to everything
    assert aurc(right, right) < aurc(-right.astype(float), right)


def test_the_curve_ends_at_the_base_risk_and_ties_are_one_point():
    points = curve([0.9, 0.9, 0.1, 0.1], [1, 0, 1, 0])
    assert points.coverage.tolist() == [0.5, 1.0]
    assert points.risk.tolist() == [0.5, 0.5]


def test_the_picture_is_drawn(tmp_path):
    path = draw(np.arange(100), np.arange(100) > 20, tmp_path / "curve.png", 0.05, 40.0)
    assert path.read_bytes().startswith(b"\x89PNG")
