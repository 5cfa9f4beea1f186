"""The adaptive threshold: its long-run bound holds against any adversary, and the certificate is never undercut."""

import numpy as np
import pytest

from nexus.living.adaptive import Adaptive


@pytest.mark.parametrize("risk", [0.0, 0.05, 0.5, 1.0])
def test_the_share_of_wrong_answers_is_bounded_whatever_comes(risk):
    rng, made, wrong = np.random.default_rng(0), Adaptive(0.7, 0.1, 0.02), []
    for _ in range(3_000):
        score = rng.random()
        if score >= made.threshold:
            wrong.append(rng.random() < risk)
            made.feed(not wrong[-1])
            assert np.mean(wrong) <= made.bound + 1e-12
            assert 0.7 <= made.threshold <= 1.02
    assert made.labels == len(wrong) > 0
    assert np.mean(wrong) <= 0.1 + 0.32 / (0.02 * len(wrong)) + 1e-12


def test_before_the_first_label_nothing_is_claimed():
    assert Adaptive(0.5, 0.1, 0.01).bound == 1.0


@pytest.mark.parametrize("step", [0.0, -1.0, 2.0])
def test_a_step_out_of_range_is_refused(step):
    with pytest.raises(ValueError, match="step"):
        Adaptive(0.5, 0.1, step)
