"""A probe: hidden states know more about whether an answer is right than the words that come of them.

The one idea: a linear classifier on one hidden state of one answer, which costs nothing when asked. Sources: Kadavath
et al. 2022 (arXiv:2207.05221); semantic entropy probes, Kossen et al. 2024 (arXiv:2406.15927).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nexus.living.scores.logistic import Logistic, fit_logistic
from nexus.living.trace import Floats

STRENGTH = 1e-3  # inverse of the penalty: hidden states have more entries than there are questions


@dataclass(frozen=True)
class Probe:
    """A linear classifier on hidden states."""

    line: Logistic

    @classmethod
    def fit(cls, states: Floats, right: NDArray[np.bool_]) -> Self:
        """From (n, D) states and (n,) outcomes of both kinds."""
        return cls(fit_logistic(states, right, STRENGTH))

    def __call__(self, states: Floats) -> Floats:
        """Log-odds of being right, (n,), of (n, D) states."""
        return self.line.odds(states)
