"""Effects with intervals. Every estimator gives its value and each row's influence on it, and so the standard error.

For a treatment with two values the effect is E[Y | do(high)] - E[Y | do(low)]; for any other it is the slope, the
change of E[Y] for one unit. The estimate is asymptotically normal around it with variance mean(influence^2) / n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from nexus.causality.estimation.regression import (
    classifier,
    least_squares,
    logistic,
    regressor,
    sigmoid,
    with_intercept,
)
from nexus.causality.extras import need
from nexus.causality.table import Floats

CLIP = 0.01  # propensities are kept this far from 0 and 1


@dataclass(frozen=True)
class Estimate:
    """An effect.

    Attributes:
        value, std_error, low, high: the effect and its interval at `level`.
        method: how it was estimated.
        notes: what the reader should know, for example that the groups hardly overlap.
        influence: (n,), each row's share; empty where the interval comes from resampling.
    """

    value: float
    std_error: float
    low: float
    high: float
    method: str
    level: float = 0.95
    notes: tuple[str, ...] = ()
    influence: Floats = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    @property
    def p_value(self) -> float:
        """Of there being no effect, two-sided."""
        return float(2 * need("scipy.special").ndtr(-abs(self.value) / max(self.std_error, 1e-300)))

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.level:.0%} interval {self.low:.4g} to {self.high:.4g}; {self.method})"


def from_influence(value: float, influence: Floats, method: str, level: float, notes: tuple[str, ...] = ()) -> Estimate:
    """The estimate whose rows have these influences."""
    error = float(np.sqrt((influence**2).mean() / len(influence)))
    half = float(need("scipy.special").ndtri(0.5 + level / 2)) * error
    return Estimate(value, error, value - half, value + half, method, level, notes, influence)


# ---- back-door estimators: y, t (n,), z (n, k) -> (value, influence) ------------------------------------------------

Result = tuple[float, Floats]


def g_formula(y: Floats, t: Floats, z: Floats) -> Result:
    """Outcome regression in each group, averaged over all rows (Robins 1986); a slope if t is not binary."""
    if not _binary(t):
        return partially_linear(y, t, z)
    x = with_intercept(z)
    mean, difference, influence = x.mean(0), np.zeros(len(y)), np.zeros(len(y))
    for group, sign in ((t == 1, 1.0), (t == 0, -1.0)):
        beta = least_squares(x[group], y[group])
        difference += sign * (x @ beta)
        bread = np.linalg.pinv(x[group].T @ x[group] / len(y))
        influence[group] += sign * (x[group] @ bread @ mean) * (y[group] - x[group] @ beta)
    value = float(difference.mean())
    return value, influence + difference - value


def ipw(y: Floats, t: Floats, z: Floats) -> Result:
    """Weighted means with weights 1 / propensity, normalised (Hájek 1971).

    That the propensity is estimated lowers the variance: the influence is freed of the part along the logit's score.
    """
    _need_binary(t, "ipw")
    x = with_intercept(z)
    p = sigmoid(x @ logistic(x, t)).clip(CLIP, 1 - CLIP)
    one, zero = t / p, (1 - t) / (1 - p)
    high, low = (one * y).sum() / one.sum(), (zero * y).sum() / zero.sum()
    influence = one * (y - high) / one.mean() - zero * (y - low) / zero.mean()
    score = x * (t - p)[:, None]
    return float(high - low), influence - score @ least_squares(score, influence)


def aipw(y: Floats, t: Floats, z: Floats, learner: str = "linear", folds: int = 5, seed: int = 0) -> Result:
    """Doubly robust, with cross-fitting (Robins et al. 1994; Chernozhukov et al. 2018): right if either model is."""
    _need_binary(t, "aipw")
    high, low, p = np.empty((3, len(y)))
    for train, test in _folds(t, folds, seed):
        p[test] = classifier(learner, z[train], t[train], seed)(z[test])
        for group, into in ((1, high), (0, low)):
            rows = train[t[train] == group]
            into[test] = regressor(learner, z[rows], y[rows], seed)(z[test])
    p = p.clip(CLIP, 1 - CLIP)
    each = high - low + t * (y - high) / p - (1 - t) * (y - low) / (1 - p)
    return float(each.mean()), each - each.mean()


def partially_linear(y: Floats, t: Floats, z: Floats, learner: str = "linear", folds: int = 1, seed: int = 0) -> Result:
    """Slope of y on t after both are freed of z (Robinson 1988); with folds this is double machine learning."""
    y_rest, t_rest = np.empty((2, len(y)))
    for train, test in _folds(t, folds, seed):
        y_rest[test] = y[test] - regressor(learner, z[train], y[train], seed)(z[test])
        t_rest[test] = t[test] - regressor(learner, z[train], t[train], seed)(z[test])
    moment = (t_rest**2).mean()
    if moment < 1e-12:
        raise ValueError("the adjustment set determines the treatment, nothing is left to compare; adjust for less")
    value = float((t_rest * y_rest).mean() / moment)
    return value, t_rest * (y_rest - value * t_rest) / moment


def dml(y: Floats, t: Floats, z: Floats, learner: str = "forest", folds: int = 5, seed: int = 0) -> Result:
    """Double machine learning: AIPW for a binary treatment, the partially linear model for any other."""
    method = aipw if _binary(t) else partially_linear
    return method(y, t, z, learner, folds, seed)


# ---- the other ways --------------------------------------------------------------------------------------------------


def two_stage(y: Floats, t: Floats, z: Floats, instrument: Floats) -> Result:
    """Instrumental variable: the ratio of two regressions on the instrument, freed of z (Wright 1928)."""
    x = with_intercept(z)
    lever = instrument - x @ least_squares(x, instrument)
    strength = (lever * t).mean()
    value = float((lever * y).mean() / strength)
    rest = (y - value * t) - x @ least_squares(x, y - value * t)
    return value, lever * rest / strength


def first_stage_f(t: Floats, z: Floats, instrument: Floats) -> float:
    """How strongly the instrument moves the treatment; below 10 it is called weak (Staiger & Stock 1997)."""
    x = with_intercept(z)
    lever, rest = instrument - x @ least_squares(x, instrument), t - x @ least_squares(x, t)
    r2 = (lever @ rest) ** 2 / ((lever @ lever) * (rest @ rest))
    return float(r2 / (1 - r2) * (len(t) - x.shape[1] - 1))


def front_door_linear(y: Floats, t: Floats, mediators: Floats) -> Result:
    """Sum over mediators of (effect of t on it) times (its effect on y given t and the others) (Pearl 1995), linear."""
    value, influence = 0.0, np.zeros(len(y))
    nothing = np.empty((len(y), 0))
    for k in range(mediators.shape[1]):
        m, others = mediators[:, k], np.column_stack([t, np.delete(mediators, k, axis=1)])
        first, by_first = partially_linear(m, t, nothing)
        second, by_second = partially_linear(y, m, others)
        value += first * second
        influence += second * by_first + first * by_second
    return value, influence


def resampled(
    estimate: Callable[[np.ndarray], float], n: int, method: str, level: float, times: int = 200, seed: int = 0
) -> Estimate:
    """An estimate whose standard error comes from the bootstrap. `estimate` maps row numbers to a value."""
    rng = np.random.default_rng(seed)
    values = np.array([estimate(rng.integers(n, size=n)) for _ in range(times)])
    value, error = estimate(np.arange(n)), float(values.std(ddof=1))
    half = float(need("scipy.special").ndtri(0.5 + level / 2)) * error
    return Estimate(value, error, value - half, value + half, method, level)


def _binary(t: Floats) -> bool:
    return bool(np.isin(t, (0.0, 1.0)).all())


def _need_binary(t: Floats, method: str) -> None:
    if not _binary(t):
        raise ValueError(f"method = {method!r} needs a treatment with two values; use 'g-formula' or 'dml' for others")


def _folds(t: Floats, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(train, test) row numbers; both groups are spread evenly over the folds. One fold: no splitting."""
    everything = np.arange(len(t))
    if folds <= 1:
        return [(everything, everything)]
    order = np.random.default_rng(seed).permutation(len(t))
    if _binary(t):
        order = order[np.argsort(t[order], kind="stable")]
    part = np.empty(len(t), dtype=int)
    part[order] = np.arange(len(t)) % folds
    return [(everything[part != k], everything[part == k]) for k in range(folds)]
