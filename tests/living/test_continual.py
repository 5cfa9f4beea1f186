"""The figures of a series of updates, against values worked out by hand and against the papers' definitions."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from nexus.living.continual import Continual, Editing, draw, step, worst_drop

#            after: 0    1    2    3   (rows), taught by 1, 2, 3 (columns)
MATRIX = [
    [0.1, 0.2, 0.0],
    [0.9, 0.3, 0.1],
    [0.5, 1.0, 0.2],
    [0.7, 0.8, 0.6],
]


def test_a_series_worked_out_by_hand():
    found = Continual.of(MATRIX)
    assert found.average_accuracy == pytest.approx((0.7 + 0.8 + 0.6) / 3)
    assert found.backward_transfer == pytest.approx(((0.7 - 0.9) + (0.8 - 1.0)) / 2)
    assert found.forward_transfer == pytest.approx(((0.3 - 0.2) + (0.2 - 0.0)) / 2)
    assert found.forgetting == pytest.approx(((0.9 - 0.7) + (1.0 - 0.8)) / 2)
    assert found.min_accuracy == pytest.approx((0.5 + 0.8) / 2)
    assert found.worst_case_accuracy == pytest.approx(0.6 / 3 + 2 / 3 * 0.65)


def test_a_dip_between_two_updates_shows_in_the_worst_case_alone():
    steady = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=float)
    dipped = steady.copy()
    dipped[2, 0] = 0.2  # recovered by the end
    one, other = Continual.of(steady), Continual.of(dipped)
    assert (one.average_accuracy, one.forgetting) == (other.average_accuracy, other.forgetting) == (1, 0)
    assert other.worst_case_accuracy < one.worst_case_accuracy == 1


def test_one_update():
    found = Continual.of([[0.0], [0.8]])
    assert (found.average_accuracy, found.worst_case_accuracy, found.forgetting) == (0.8, 0.8, 0.0)


@pytest.mark.parametrize("wrong", [[[1.0]], [1.0, 2.0], np.zeros((2, 2)), np.zeros((1, 0))])
def test_other_shapes_are_refused(wrong):
    with pytest.raises(ValueError, match=r"cure: give \(T \+ 1, T\)"):
        Continual.of(wrong)


def test_editing_counts():
    found = Editing.of([True, True, False, True], [True, False], [True], [])
    assert (found.reliability, found.generality, found.locality, found.portability) == (0.75, 0.5, 1.0, 0.0)


@pytest.mark.parametrize(("gained", "lost", "same"), [(0, 0, 10), (1, 0, 9), (2, 9, 89), (30, 10, 60), (0, 6, 94)])
def test_a_step_is_tested_exactly_and_its_noise_is_the_paired_error(gained, lost, same):
    before = np.array([False] * gained + [True] * lost + [True] * same)
    after = np.array([True] * gained + [False] * lost + [True] * same)
    found = step(before, after)
    difference = after.astype(float) - before
    assert found.change == pytest.approx(difference.mean())
    assert found.noise == pytest.approx(difference.std() / math.sqrt(len(difference)))
    moved = gained + lost
    assert found.p == pytest.approx(binomtest(gained, moved).pvalue if moved else 1.0)


def test_worst_drop_is_below_the_beginning():
    assert worst_drop([0.9, 0.95, 0.91]) == 0
    assert worst_drop([0.9, 0.95, 0.7, 0.9]) == pytest.approx(0.2)


def test_the_curve_is_drawn(tmp_path):
    path = draw({"held out": [0.9, 0.8]}, {"held out": [0.01, 0.02]}, tmp_path / "c.png", "accuracy")
    assert path.read_bytes().startswith(b"\x89PNG")
