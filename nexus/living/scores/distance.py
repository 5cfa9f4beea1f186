"""Distance: a question unlike those that the score was fitted on is one about which nothing is known.

The one idea: Mahalanobis distance of the hidden state at the end of the prompt, with the covariance shrunk towards a
multiple of the identity, since there are more entries than questions. Sources: Lee et al. 2018 (arXiv:1807.03888);
Ledoit and Wolf 2004 (J. Multivariate Analysis 88:365).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from nexus.living.scores.logistic import sklearn_part
from nexus.living.trace import Floats


@dataclass(frozen=True)
class Distance:
    """``mean`` (D,) and ``whitening`` (D, D), whose product with its transpose is the inverse covariance."""

    mean: Floats
    whitening: Floats

    @classmethod
    def fit(cls, states: Floats) -> Self:
        """From the (n, D) states of the questions that count as known."""
        covariance, _ = sklearn_part("covariance").ledoit_wolf(states)
        return cls(states.mean(0), np.linalg.cholesky(np.linalg.inv(covariance)))

    def __call__(self, states: Floats) -> Floats:
        """Minus the distance, (n,), of (n, D) states."""
        return -np.linalg.norm((states - self.mean) @ self.whitening, axis=1)
