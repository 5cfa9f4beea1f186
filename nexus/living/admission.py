"""The gates of an update: a version speaks only if it learnt what was taught and spoiled nothing else.

The one idea: a candidate is compared with the release itself, not only with the version before it, so that twenty
small steps down are no way round the gates. Text is judged by a one-sided bound on the paired rise of the loss;
counted answers by their difference. Whoever fails is kept, with the reasons, and does not speak. Gates before each
merge of an update are due to STABLE (github.com/Bhoy1/STABLE).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nexus.core.config import BaseConfig, in_range
from nexus.living.exam import Floats, Marks
from nexus.living.risk_coverage import augrc

Z = 1.645  # one-sided 95 %


@dataclass(frozen=True, kw_only=True)
class Limits(BaseConfig):
    """What an update may cost, and what it must bring.

    Attributes:
        loss: nats by which the loss of held-out text may lie above the release's, as a one-sided 95 % bound.
        taught: share of the newly taught facts that must be answered, in every form that was taught.
        earlier: share of the facts taught before that may be lost, compared with the version before.
        untouched: share of the untouched answers' tokens that may change, compared with the release.
        refusal: rise that is allowed of AUGRC over untouched and unknown questions: the chance of a silent failure.
    """

    loss: float = 0.05
    taught: float = 0.8
    earlier: float = 0.02
    untouched: float = 0.01
    refusal: float = 0.01

    def faults(self) -> list[str]:
        found = []
        for name in ("loss", "earlier", "untouched", "refusal"):
            found += in_range(self, name, 0.0)
        return found + in_range(self, "taught", 0.0, 1.0)


@dataclass(frozen=True)
class Admission:
    """Whether a version may speak, why not, and what was measured."""

    admitted: bool
    reasons: tuple[str, ...]
    figures: dict[str, Any]


def admit(new: Marks, release: Marks, before: Marks, fresh: set[int], limits: Limits | None = None) -> Admission:
    """Hold a candidate's marks against those of the release and of the version before.

    Args:
        new, release, before: marks on the same exam; ``new`` and ``before`` on the same taught questions as well.
        fresh: numbers of the facts that this update was to teach.
    """
    limits = limits or Limits()
    loss, bound = rise(new.loss, release.loss)
    is_fresh = np.isin(new.taught_fact, list(fresh))
    taught = _facts_right(new, is_fresh)
    figures: dict[str, Any] = {
        "loss_rise": loss,
        "loss_bound": bound,
        "taught": taught,
        "taught_before": _facts_right(before, is_fresh),
        "earlier": _facts_right(new, ~is_fresh),
        "earlier_before": _facts_right(before, ~is_fresh),
        "untouched_exact": float(new.untouched.mean()),
        "untouched_drop": float((release.kept - new.kept).mean()),
        "refusal_risk": silent_failure(new),
        "refusal_risk_release": silent_failure(release),
    }
    lost = figures["earlier_before"] - figures["earlier"]
    risk = figures["refusal_risk"] - figures["refusal_risk_release"]
    checks = (
        (not bound <= limits.loss, f"held-out loss: +{bound:.4f} nats, allowed {limits.loss}"),
        (not taught >= limits.taught, f"taught facts: {taught:.1%} are answered, wanted {limits.taught:.0%}"),
        (not lost <= limits.earlier, f"earlier facts: {lost:.1%} were lost, allowed {limits.earlier:.0%}"),
        (
            not figures["untouched_drop"] <= limits.untouched,
            f"untouched answers: {figures['untouched_drop']:.1%} changed, allowed {limits.untouched:.0%}",
        ),
        (not risk <= limits.refusal, f"refusal risk: +{risk:.4f}, allowed {limits.refusal}"),
    )
    reasons = tuple(words for failed, words in checks if failed)
    return Admission(not reasons, reasons, figures)


def rise(new: Floats, old: Floats) -> tuple[float, float]:
    """Mean paired difference ``new - old`` and its one-sided 95 % upper bound."""
    difference = new - old
    mean = float(difference.mean())
    if len(difference) < 2:
        return mean, math.inf
    return mean, mean + Z * float(difference.std(ddof=1)) / math.sqrt(len(difference))


def silent_failure(marks: Marks) -> float:
    """AUGRC when untouched questions are right if they get their answer, and unknown ones are always wrong."""
    score = np.concatenate([marks.untouched_score, marks.unknown_score])
    right = np.concatenate([marks.untouched, np.zeros(len(marks.unknown_score), dtype=bool)])
    return augrc(score, right)


def _facts_right(marks: Marks, which: NDArray[np.bool_]) -> float:
    """Share of facts all of whose questions get exactly their answers; 1 if there are none."""
    facts, right = marks.taught_fact[which], marks.taught[which]
    return float(np.mean([right[facts == fact].all() for fact in np.unique(facts)])) if len(facts) else 1.0
