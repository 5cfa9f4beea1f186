"""Wealth is a fair game under the hypothesis, and bettors who begin late see what comes late."""

import numpy as np

from nexus.living.betting import EVERY, BettingAlarm


def test_the_stakes_of_all_bettors_sum_to_one():
    bets = BettingAlarm(3, 0.05)
    for _ in range(5 * EVERY):
        bets.bet(np.zeros(3))
        assert abs(bets.wealth - 1) < 1e-12
    assert bets.steps == 5 * EVERY


def test_the_alarm_goes_off_at_one_over_delta_and_stays_on():
    bets = BettingAlarm(1, 0.05)
    assert not bets.bet(np.log(np.array([24.0])))  # 0.8 of it bets: 0.2 + 19.2
    assert bets.bet(np.log(np.array([1.05])))
    assert bets.bet(np.array([-50.0]))
