"""The alarm without labels: silent on questions of the same kind, loud when the scores move."""

import numpy as np
import pytest

from nexus.living.shift import ShiftAlarm


def alarms(draw, runs=60, steps=400, reference=300):
    """Shares of runs with an alarm, and the median of questions until then."""
    delays = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        watch = ShiftAlarm(rng.random(reference), 0.05, seed=10_000 + seed)
        delays.append(next((n for n in range(1, steps + 1) if watch.feed(draw(rng))), np.inf))
    return np.mean(np.isfinite(delays)), np.median(delays)


def test_it_is_silent_on_the_same_kind():
    share, _ = alarms(lambda rng: rng.random())
    assert share <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 60)


def test_it_is_silent_where_many_scores_are_equal():
    share, _ = alarms(lambda rng: float(rng.random() < 0.5), reference=0)
    assert share <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 60)


@pytest.mark.parametrize(
    "draw",
    [lambda rng: rng.random() ** 3, lambda rng: rng.random() ** 0.2, lambda rng: 0.5 + 0.1 * rng.normal()],
    ids=["lower", "higher", "in the middle"],
)
def test_it_hears_scores_that_move(draw):
    share, median = alarms(draw)
    assert share == 1.0
    assert median < 80
