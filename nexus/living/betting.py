"""Bets against a hypothesis: wealth that grows large is evidence, and seldom grows large by chance.

The one idea: several bettors hold shares of one unit, each multiplies its share by factors whose mean is at most 1 as
long as the hypothesis holds; their sum then reaches 1/delta with probability at most delta, ever (Ville 1939), whatever
order or stopping rule. New bettors begin now and then, so that a late change is not hidden behind a long good past.
Source: Waudby-Smith and Ramdas 2024 (arXiv:2010.09686).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nexus.living.bounds import level

FIRST = 0.8  # share of the stake for bettors that begin at once
EVERY = 200  # steps between the beginnings of new bettors


class BettingAlarm:
    """Goes off when the bettors have won too much.

    Args:
        bettors: how many begin at a time.
        delta: how often a false alarm may come, over all time.

    Attributes:
        steps: bets made so far.
        alarm: whether the wealth has reached 1/delta; it stays on.
    """

    def __init__(self, bettors: int, delta: float) -> None:
        self.delta, self.steps, self.alarm = level("delta", delta), 0, False
        self._logs = np.empty((0, bettors))  # log wealth of each bettor, in shares of the whole stake
        self._kept = 1.0  # the stake of bettors that have not begun

    @property
    def wealth(self) -> float:
        """What one unit has become; 1/delta or more is the alarm."""
        return self._kept + float(np.exp(np.minimum(self._logs, 700.0)).sum())

    def bet(self, logs: NDArray[np.float64]) -> bool:
        """Multiply by the factors with these (bettors,) logarithms; returns whether the alarm is on."""
        if self.steps % EVERY == 0:
            self._begin(self.steps // EVERY)
        self._logs = self._logs + logs
        self.steps += 1
        self.alarm = self.alarm or self.wealth >= 1 / self.delta
        return self.alarm

    def _begin(self, number: int) -> None:
        stake = FIRST if number == 0 else (1 - FIRST) / (number * (number + 1))  # they sum to 1
        self._kept -= stake
        bettors = self._logs.shape[1]
        self._logs = np.concatenate([self._logs, np.full((1, bettors), math.log(stake / bettors))])
