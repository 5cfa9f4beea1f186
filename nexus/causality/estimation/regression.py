"""The two regressions that estimators stand on, and the learners that may replace them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nexus.causality.extras import need
from nexus.causality.table import Floats

LEARNERS = ("linear", "forest")
Fitted = Callable[[Floats], Floats]


def with_intercept(z: Floats) -> Floats:
    """(n, k) -> (n, k + 1)."""
    return np.column_stack([np.ones(len(z)), z])


def least_squares(x: Floats, y: Floats) -> Floats:
    """Coefficients of y on the columns of x."""
    return np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], dtype=float)


def logistic(x: Floats, t: Floats, steps: int = 50) -> Floats:
    """Coefficients of the maximum-likelihood logit of t (0 or 1), by Newton's method.

    Raises:
        ValueError: the columns tell the two groups apart without error, so that no such fit exists.
    """
    beta = np.zeros(x.shape[1])
    for _ in range(steps):
        p = sigmoid(x @ beta)
        weight = p * (1 - p)
        step = np.linalg.lstsq((x * weight[:, None]).T @ x, x.T @ (t - p), rcond=None)[0]
        beta += step
        if np.abs(step).max() < 1e-10:
            return beta
        if np.abs(x @ beta).max() > 35:
            break
    raise ValueError("treated and untreated rows do not overlap: the adjustment set tells them apart; adjust for less")


def sigmoid(a: Floats) -> Floats:
    """1 / (1 + exp(-a)), without overflow."""
    return 0.5 * (1 + np.tanh(a / 2))


def regressor(learner: str, z: Floats, y: Floats, seed: int = 0) -> Fitted:
    """A fitted E[y | z]."""
    if learner == "linear":
        beta = least_squares(with_intercept(z), y)
        return lambda new: with_intercept(new) @ beta
    model = need("sklearn.ensemble").RandomForestRegressor(100, min_samples_leaf=5, random_state=seed)
    if not z.shape[1]:
        return lambda new: np.full(len(new), y.mean())
    return model.fit(z, y).predict


def classifier(learner: str, z: Floats, t: Floats, seed: int = 0) -> Fitted:
    """A fitted P(t = 1 | z)."""
    if learner == "linear":
        beta = logistic(with_intercept(z), t)
        return lambda new: sigmoid(with_intercept(new) @ beta)
    if not z.shape[1]:
        return lambda new: np.full(len(new), t.mean())
    model = need("sklearn.ensemble").RandomForestClassifier(100, min_samples_leaf=10, random_state=seed).fit(z, t)
    return lambda new: model.predict_proba(new)[:, 1]
