"""An alarm that goes off when answers have become worse than was certified, and seldom otherwise.

The one idea: bet against "the risk is at most alpha". Each labelled answer multiplies a bettor's wealth by a likelihood
ratio whose mean is at most 1 as long as that holds, so the wealth reaches 1/delta with probability at most delta, ever
(Ville 1939), whatever order or stopping rule. Bettors differ in the risk they expect and in the answer at which they
begin, so that a late drift is not hidden behind a long good past. Only harm is seen: a risk below alpha loses the bet.
Sources: Podkopaev and Ramdas 2022 (arXiv:2110.06177), Waudby-Smith and Ramdas 2024 (arXiv:2010.09686).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nexus.living.bounds import level

ODDS = np.array([2.0, 2.2, 4.0, 8.0])  # alternatives, in odds of a wrong answer relative to alpha
FIRST = 0.8  # share of the stake for bettors that begin with the first label
EVERY = 200  # labels between the beginnings of new bettors


@dataclass(frozen=True)
class Reading:
    """The state after a label: how many were seen, the wealth, and whether the alarm has gone off (it stays on)."""

    labels: int
    wealth: float
    alarm: bool


class DriftAlarm:
    """Watches labelled answers, one by one.

    Args:
        alpha: the risk that was certified.
        delta: how often a false alarm may come, over all time.
    """

    def __init__(self, alpha: float, delta: float) -> None:
        self.alpha, self.delta = level("alpha", alpha), level("delta", delta)
        odds = ODDS * alpha / (1 - alpha)
        risk = odds / (1 + odds)  # each above alpha, which makes the wealth a supermartingale below alpha
        self._if_wrong, self._if_right = np.log(risk / alpha), np.log((1 - risk) / (1 - alpha))
        self._logs = np.empty((0, len(ODDS)))  # log wealth of each bettor, in shares of the whole stake
        self._kept = 1.0  # the stake of bettors that have not begun
        self.labels, self.alarm = 0, False

    @property
    def wealth(self) -> float:
        """What one unit has become; 1/delta or more is the alarm."""
        return self._kept + float(np.exp(np.minimum(self._logs, 700.0)).sum())

    def feed(self, right: bool) -> Reading:
        """Take the label of one answer that was given."""
        if self.labels % EVERY == 0:
            self._begin(self.labels // EVERY)
        self._logs = self._logs + (self._if_right if right else self._if_wrong)
        self.labels += 1
        wealth = self.wealth
        self.alarm = self.alarm or wealth >= 1 / self.delta
        return Reading(self.labels, wealth, self.alarm)

    def _begin(self, number: int) -> None:
        stake = FIRST if number == 0 else (1 - FIRST) / (number * (number + 1))  # they sum to 1
        self._kept -= stake
        fresh = np.full((1, len(ODDS)), math.log(stake / len(ODDS)))
        self._logs = np.concatenate([self._logs, fresh])
