"""The debugging guide's classes and thresholds, in one place: update ratios, gradient norms, shapes of loss curves.

The one idea: a number is only useful with the class it falls into; all thresholds that the auditor uses are constants
of this file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Ratio = Literal["frozen", "healthy", "unstable"]
Norm = Literal["broken", "healthy", "exploding", "overflow"]
Convergence = Literal["healthy", "hockey stick", "slow burn", "nan death", "diverging", "flat"]

FROZEN, TARGET, UNSTABLE = 1e-5, 1e-3, 1e-1  # update over weight
EXPLODING = 10.0  # norm of the gradient before clipping
DEAD, SATURATED = 0.5, 0.7  # share of units of an activation
STALL = 0.4  # share of a step's time spent waiting for data
LEAKING = 0.01  # megabytes that the heap grows by at every step; records of a healthy run take 0.0002
FLAT = 0.02  # relative change of a loss that counts as none
PLATEAU = 500  # steps that a healthy model may rest at the labels' frequencies
SHORTEST = 20  # losses below which a curve has no shape yet


def update_ratio(learning_rate: float, gradient_norm: float, weight_norm: float) -> float:
    """``eta |grad W| / |W|`` as in the guide: the update of plain gradient descent over the weights."""
    return learning_rate * gradient_norm / weight_norm if weight_norm else math.inf


def classify_update_ratio(ratio: float) -> Ratio:
    """Below 1e-5 the weights are frozen, above 1e-1 they are unstable; 1e-3 is the target."""
    if ratio < FROZEN:
        return "frozen"
    return "healthy" if ratio <= UNSTABLE else "unstable"


def classify_gradient_norm(norm: float) -> Norm:
    """0 is a broken graph, above 10 it explodes, NaN and infinity are overflow."""
    if not math.isfinite(norm):
        return "overflow"
    if norm == 0:
        return "broken"
    return "healthy" if norm <= EXPLODING else "exploding"


def classify_convergence(losses: Sequence[float]) -> Convergence:
    """The shape of a loss curve, one loss a step.

    "hockey stick": most of the fall within the first tenth, then nothing. "slow burn": a straight line that falls
    little. "flat": no fall. "diverging": it ends above where it began.
    """
    if any(not math.isfinite(loss) for loss in losses):
        return "nan death"
    if len(losses) < SHORTEST:
        return "healthy"
    first, last = losses[0], mean(losses[-max(3, len(losses) // 10) :])
    size = max(abs(first), 1e-12)
    if last > first + 0.1 * size:
        return "diverging"
    if _is_hockey_stick(losses, first, last, size):
        return "hockey stick"
    if _is_slow_burn(losses, size):
        return "slow burn"
    return "flat" if abs(first - last) < FLAT * size else "healthy"


def _is_hockey_stick(losses: Sequence[float], first: float, last: float, size: float) -> bool:
    early = mean(losses[len(losses) // 10 : len(losses) // 5])
    return first - early > 0.25 * size and abs(early - last) < FLAT * size


def _is_slow_burn(losses: Sequence[float], size: float) -> bool:
    slope, _intercept, explained = line(losses)
    fall = -slope * (len(losses) - 1)
    return explained > 0.9 and 0 < fall < 0.15 * size


def line(values: Sequence[float]) -> tuple[float, float, float]:
    """Slope, value at 0 and explained share of the variance of a straight line through the values."""
    n = len(values)
    middle, average = (n - 1) / 2, mean(values)
    spread = sum((i - middle) ** 2 for i in range(n))
    slope = sum((i - middle) * (v - average) for i, v in enumerate(values)) / spread if spread else 0.0
    intercept = average - slope * middle
    total = sum((v - average) ** 2 for v in values)
    rest = sum((v - intercept - slope * i) ** 2 for i, v in enumerate(values))
    return slope, intercept, 1 - rest / total if total > 0 else 0.0


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of nothing."""
    return sum(values) / len(values) if values else math.nan


def median(values: Sequence[float]) -> float:
    """The middle value; NaN of nothing."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
