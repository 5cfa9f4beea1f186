"""How good a score is at telling right from wrong answers: the risk-coverage curve and the areas under it.

AUGRC (Traub et al. 2024, arXiv:2407.01032, equation 6) is the mean, over all shares of questions that may be answered,
of the share of questions that are answered wrongly; it is the probability of a silent failure. AURC weighs few answers
too much and is there for comparison with older work. Questions of equal score enter together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nexus.core.files import atomic_file
from nexus.living.risk_control import Floats, checked


@dataclass(frozen=True)
class Curve:
    """Points of growing coverage: the risk among answers, and the share of all questions answered wrongly."""

    coverage: Floats
    risk: Floats
    generalised: Floats


def curve(score: ArrayLike, right: ArrayLike) -> Curve:
    """The curve, one point for each different score."""
    scores, outcomes = checked(score, right)
    ranked = np.argsort(-scores, kind="stable")
    wrong, count = np.cumsum(~outcomes[ranked]), np.arange(1, len(scores) + 1)
    last = np.append(np.diff(scores[ranked]) != 0, True)  # of a group of equal scores
    return Curve(count[last] / len(scores), (wrong / count)[last], (wrong / len(scores))[last])


def augrc(score: ArrayLike, right: ArrayLike) -> float:
    """The area under the generalised risk-coverage curve; lower is better, half the base risk is chance."""
    points = curve(score, right)
    return _area(points.coverage, points.generalised, 0.0)


def aurc(score: ArrayLike, right: ArrayLike) -> float:
    """The area under the risk-coverage curve; lower is better, the base risk is chance."""
    points = curve(score, right)
    return _area(points.coverage, points.risk, float(points.risk[0]))


def draw(score: ArrayLike, right: ArrayLike, path: Path, alpha: float, threshold: float | None = None) -> Path:
    """Draw the curve, the risk that is allowed and the certified point into an image file.

    Raises:
        ImportError: matplotlib is missing; it comes with the extra ``factory``.
    """
    drawn = figure()
    axes = drawn.subplots()
    points = curve(score, right)
    axes.plot(points.coverage, points.risk, color="#1f3a5f", label="risk among answers")
    axes.axhline(alpha, color="#d1495b", linestyle="--", label=f"allowed: {alpha:g}")
    if threshold is not None:
        coverage = float(np.mean(np.asarray(score) >= threshold))
        axes.axvline(coverage, color="#2e8b7a", label=f"certified: {coverage:.1%} answered")
    axes.set(xlabel="share of questions answered", ylabel="share of answers that are wrong", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.set_title(f"AUGRC {augrc(score, right):.4f}", fontsize=10)
    axes.legend(frameon=False)
    with atomic_file(path) as temporary:
        drawn.savefig(temporary, dpi=130, format=path.suffix.lstrip(".") or "png")
    return path


def _area(x: Floats, y: Floats, at_zero: float) -> float:
    return float(np.trapezoid(np.append(at_zero, y), np.append(0.0, x)))


def figure() -> Any:
    """A figure to draw into, of one size and look for all reports.

    Raises:
        ImportError: matplotlib is missing; it comes with the extra ``factory``.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("drawing needs matplotlib. cure: pip install 'nexus-ai[factory]'") from None
    made = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(made)
    return made
