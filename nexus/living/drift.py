"""An alarm that goes off when answers have become worse than was certified, and seldom otherwise.

The one idea: bet against "the risk is at most alpha". Each labelled answer multiplies a bettor's wealth by a likelihood
ratio whose mean is at most 1 as long as that holds. Bettors differ in the risk they expect and in the answer at which
they begin. Only harm is seen: a risk below alpha loses the bet. Sources: Podkopaev and Ramdas 2022 (arXiv:2110.06177),
Waudby-Smith and Ramdas 2024 (arXiv:2010.09686).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nexus.living.betting import BettingAlarm
from nexus.living.bounds import level

ODDS = np.array([2.0, 2.2, 4.0, 8.0])  # alternatives, in odds of a wrong answer relative to alpha


@dataclass(frozen=True)
class Reading:
    """The state after a label: how many were seen, the wealth, and whether the alarm has gone off (it stays on)."""

    labels: int
    wealth: float
    alarm: bool


class DriftAlarm(BettingAlarm):
    """Watches labelled answers, one by one.

    Args:
        alpha: the risk that was certified.
        delta: how often a false alarm may come, over all time.
    """

    def __init__(self, alpha: float, delta: float) -> None:
        super().__init__(len(ODDS), delta)
        self.alpha = level("alpha", alpha)
        odds = ODDS * alpha / (1 - alpha)
        risk = odds / (1 + odds)  # each above alpha, which makes the wealth a supermartingale below alpha
        self._if_wrong, self._if_right = np.log(risk / alpha), np.log((1 - risk) / (1 - alpha))

    @property
    def labels(self) -> int:
        """How many were taken."""
        return self.steps

    def feed(self, right: bool) -> Reading:
        """Take the label of one answer that was given."""
        self.bet(self._if_right if right else self._if_wrong)
        return Reading(self.labels, self.wealth, self.alarm)
