"""The alarm catches harm early, an innocent stream late or never, and does not forget that it went off."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nexus.living.drift import DriftAlarm


def _alarm_at(risks: list[tuple[float, int]], seed: int) -> int | None:
    rng, alarm = np.random.default_rng(seed), DriftAlarm(0.05, 0.05)
    for label, risk in enumerate(itertools.chain(*(itertools.repeat(r, n) for r, n in risks)), 1):
        if alarm.feed(right=rng.random() >= risk).alarm:
            return label
    return None


def test_doubled_risk_is_caught_within_a_median_of_150_labels():
    found = [_alarm_at([(0.10, 1500)], seed) or 10**6 for seed in range(100)]
    assert np.median(found) <= 150


def test_false_alarms_are_rare_at_the_very_edge():
    assert sum(_alarm_at([(0.05, 1000)], seed) is not None for seed in range(100)) <= 5 + 3 * 2.2


def test_a_late_drift_is_caught_although_the_past_was_good():
    found = [_alarm_at([(0.02, 1000), (0.20, 500)], seed) or 10**6 for seed in range(20)]
    assert 1000 < np.median(found) <= 1200


def test_the_mean_wealth_never_grows_at_the_certified_risk():
    """Over all streams of 12 labels, weighed by their probability: the wealth is a martingale, exactly."""
    total = 0.0
    for stream in itertools.product([True, False], repeat=12):
        alarm = DriftAlarm(0.05, 0.05)
        for right in stream:
            alarm.feed(right)
        total += alarm.wealth * 0.95 ** sum(stream) * 0.05 ** (12 - sum(stream))
    assert total == pytest.approx(1.0, abs=1e-9)


def test_the_alarm_stays_on_and_long_disasters_do_not_overflow():
    alarm = DriftAlarm(0.05, 0.05)
    for _ in range(1000):
        alarm.feed(right=False)
    assert alarm.alarm
    for _ in range(1000):
        reading = alarm.feed(right=True)
    assert reading.alarm
    assert reading.labels == 2000
