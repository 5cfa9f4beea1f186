"""An alarm without labels: the questions have become unlike those that the certificate rests on.

The one idea: as long as new scores and those of the calibration come from one source, the rank of each new one among
all before it is even, and independent of earlier ranks; bettors who expect them low, high, extreme or in the middle win
nothing. That is a conformal test martingale. It sees a change that a score shows and no other. Sources: Vovk et al.
2003 (ICML, Testing exchangeability on-line), Vovk et al. 2021 (arXiv:2102.10439).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

import numpy as np

from nexus.living.betting import BettingAlarm

LOW_OR_HIGH = np.array([-1.8, -1.0, 1.0, 1.8])  # slopes of bets on the rank; below 2, so that nobody loses all
EXTREME_OR_MIDDLE = np.array([-1.5, 1.5])


class ShiftAlarm(BettingAlarm):
    """Watches the scores of questions, one by one.

    Args:
        reference: scores of questions from the source that was certified; not those the score was fitted on.
        delta: how often a false alarm may come, over all time.
        seed: of the draws that order equal scores.
    """

    def __init__(self, reference: Iterable[float], delta: float, seed: int = 0) -> None:
        super().__init__(len(LOW_OR_HIGH) + len(EXTREME_OR_MIDDLE), delta)
        self._seen = sorted(map(float, reference))
        self._rng = np.random.default_rng(seed)

    def feed(self, score: float) -> bool:
        """Take the score of a question, answered or not; returns whether the alarm is on."""
        rank = self._rank(float(score))
        factors = np.concatenate(
            [1 + LOW_OR_HIGH * (rank - 0.5), 1 + EXTREME_OR_MIDDLE * (abs(2 * rank - 1) - 0.5)]
        )  # each is 1 on average over even ranks
        return self.bet(np.log(factors))

    def _rank(self, score: float) -> float:
        """Its place among all so far and itself, in [0, 1); equal ones in an order drawn by chance."""
        below = bisect_left(self._seen, score)
        equal = bisect_right(self._seen, score) - below
        insort(self._seen, score)
        return float((below + self._rng.random() * (equal + 1)) / len(self._seen))
