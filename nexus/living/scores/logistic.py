"""Logistic regression: fitted by scikit-learn, applied by one product, so that answering needs no scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nexus.living.trace import Floats


@dataclass(frozen=True)
class Logistic:
    """Log-odds that are linear in the columns: ``weight`` (d,) and ``bias`` (1,)."""

    weight: Floats
    bias: Floats

    def odds(self, columns: Floats) -> Floats:
        """Log-odds, (n,), of (n, d) columns."""
        return columns @ self.weight + self.bias[0]


def fit_logistic(columns: Floats, right: NDArray[np.bool_], strength: float) -> Logistic:
    """Fit to (n, d) columns and (n,) outcomes of both kinds.

    Args:
        strength: inverse of the penalty on the weights of standardised columns.

    Raises:
        ImportError: scikit-learn is missing.
    """
    mean, scale = columns.mean(0), columns.std(0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    model = sklearn_part("linear_model").LogisticRegression(C=strength, max_iter=2_000)
    model.fit((columns - mean) / scale, right)
    weight = model.coef_[0] / scale  # the standardisation goes into the line
    return Logistic(weight, model.intercept_ - weight @ mean)


def sklearn_part(name: str) -> Any:
    """A module of scikit-learn.

    Raises:
        ImportError: it is missing; the message names the extra.
    """
    try:
        return import_module(f"sklearn.{name}")
    except ImportError:
        raise ImportError("fitting a score needs scikit-learn. cure: pip install 'nexus-ai[factory]'") from None
