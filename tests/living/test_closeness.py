"""Closeness tells meaning from wording, also for meanings that it was not learnt from, and is the ratio it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from nexus.living.closeness import Closeness, fit

RNG = np.random.default_rng(0)
MEANING = np.where(np.arange(40) < 6, 2.0, 0.1)  # meaning varies along six axes, wording along all of them


def _sentences(meanings: int, wordings: int) -> tuple[np.ndarray, np.ndarray]:
    groups = np.repeat(np.arange(meanings), wordings)
    means = MEANING * RNG.normal(size=(meanings, 40))
    return means[groups] + RNG.normal(size=(len(groups), 40)), groups


def test_meanings_that_were_not_learnt_are_told_apart_better_than_by_cosine():
    closeness = fit(*_sentences(300, 4))
    rows, groups = _sentences(200, 2)
    one, other = rows[::2], rows[1::2]
    by_ratio = [np.argmax(closeness.ratio(row, closeness.project(other))) for row in closeness.project(one)]
    unit = other / np.linalg.norm(other, axis=1, keepdims=True)
    by_cosine = np.argmax(one @ unit.T, axis=1)
    assert np.mean(by_ratio == groups[::2]) > np.mean(by_cosine == groups[::2]) + 0.1


def test_the_ratio_is_that_of_two_gaussians():
    closeness = Closeness(np.zeros(2), np.eye(2), np.array([3.0, 0.5]))
    one, other = np.array([0.3, -1.0]), np.array([1.2, 0.4])
    alone = np.diag(closeness.spread + 1)
    joint = np.block([[alone, np.diag(closeness.spread)], [np.diag(closeness.spread), alone]])
    same = multivariate_normal(np.zeros(4), joint).logpdf(np.concatenate([one, other]))
    apart = sum(multivariate_normal(np.zeros(2), alone).logpdf(x) for x in (one, other))
    np.testing.assert_allclose(closeness.ratio(one, other[None]), [same - apart], rtol=1e-9)


def test_it_has_to_see_groups():
    for groups in ([0, 0, 0], [0, 1, 2]):
        with pytest.raises(ValueError, match="give two groups or more"):
            fit(np.eye(3), np.array(groups))
