"""A threshold that keeps its word: P(wrong | answered) <= alpha with confidence 1 - delta, or no threshold at all.

The one idea: thresholds are put into an order on one part of the data and tested in that order on the rest, from
strict to loose, each with the exact binomial test at full level delta, until the first one fails. The order was fixed
before the test data was looked at, so no correction for many tests is due. Sources: Learn then Test, Angelopoulos et
al. 2021 (arXiv:2110.01052), fixed-sequence testing; selective risk, Geifman and El-Yaniv 2017 (arXiv:1705.08500);
the limit of coverage, arXiv:2606.29054.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nexus.core.config import fault
from nexus.living.bounds import forgiven, level, lower_bound, upper_bound

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ORDER_SHARE = 0.1  # of the rows: their scores are the thresholds to be tested
START = (1.7, 5.2)  # tried: beginning where the ordering rows look best answers less, see docs/living/gate.md
GRID = 200  # thresholds that are tested at most


@dataclass(frozen=True)
class Verdict:
    """What was certified. With `threshold` None nothing was, and everything is to be refused.

    ``n``, ``answered``, ``wrong``: counts on the split that certified. ``base_risk``: the share of wrong answers if all
    were given; ``feasible``: the most that any method could answer at this alpha. ``risk_bound`` holds with confidence
    1 - delta for the threshold's own count; ``coverage_bound`` too, for whichever threshold came out.
    """

    alpha: float
    delta: float
    threshold: float | None
    n: int
    answered: int
    wrong: int
    base_risk: float
    feasible: float
    risk_bound: float
    coverage_bound: float

    @property
    def coverage(self) -> float:
        """The share of questions that were answered on the split that certified."""
        return self.answered / self.n

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"feasible: at most {self.feasible:.1%} could be answered by any method "
            f"(wrong without a gate: {self.base_risk:.1%}, allowed: {self.alpha:.1%})"
        ]
        if self.threshold is None:
            lines.append(f"refuses everything: no threshold is certified at alpha {self.alpha}, delta {self.delta}")
        else:
            lines.append(f"answers from a score of {self.threshold:.6g} on")
            lines.append(f"  risk      <= {self.risk_bound:.4f}  ({self.wrong} wrong of {self.answered} answered)")
            lines.append(f"  coverage  >= {self.coverage_bound:.4f}  ({self.answered} answered of {self.n})")
        return "\n".join(lines)


def certify(score: ArrayLike, right: ArrayLike, alpha: float, delta: float, seed: int = 0) -> Verdict:
    """Certify a threshold on questions whose scores were made without them.

    Args:
        score: (n,), higher is surer. Fit the score on other data, or the certificate is void.
        right: (n,), whether the answer was right.
        alpha: the risk that is allowed among answers.
        delta: how often a calibration may fail.
        seed: of the split into ordering and certifying rows.

    Raises:
        ValueError: a value that cannot be used.
    """
    score, right = checked(score, right)
    alpha, delta = level("alpha", alpha), level("delta", delta)
    shuffled = np.random.default_rng(seed).permutation(len(score))
    cut = int(len(score) * ORDER_SHARE)
    order, test = shuffled[:cut], shuffled[cut:]
    thresholds = sequence(score[order], alpha, delta, len(test))
    return fixed_sequence(score[test], right[test], thresholds, alpha, delta)


def sequence(score: Floats, alpha: float, delta: float, n_test: int) -> Floats:
    """The thresholds in the order of their tests, from the scores of the ordering rows alone; strict ones first.

    The first one is to answer a tenth of the test rows, within limits: with too few answers no test can pass, with many
    the surest ones go unused. The limits are multiples of the answers that certify when none is wrong.
    """
    if not len(score):
        return np.empty(0)
    alone = np.log(delta) / np.log1p(-alpha)  # (1 - alpha)^n <= delta
    first = np.clip(n_test / 10, START[0] * alone, START[1] * alone) * len(score) / n_test
    places = np.linspace(min(max(1, np.ceil(first)), len(score)), len(score), GRID).astype(int)
    return np.unique(np.sort(score)[::-1][places - 1])[::-1]


def fixed_sequence(score: Floats, right: Bools, thresholds: Floats, alpha: float, delta: float) -> Verdict:
    """Test the thresholds one after the other and keep the last that passed before the first that failed."""
    n = len(score)
    ranked = np.sort(score)
    errors = np.concatenate([np.cumsum((~right[np.argsort(score, kind="stable")])[::-1])[::-1], [0]])
    first = np.searchsorted(ranked, thresholds, side="left")  # of the answered ones
    answered, wrong = n - first, errors[first]
    passed = wrong <= forgiven(n, alpha, delta)[answered]
    count = int(np.argmin(passed)) if not passed.all() else len(passed)
    base = float(np.mean(~right)) if n else 1.0
    k, m = (int(wrong[count - 1]), int(answered[count - 1])) if count else (0, 0)
    return Verdict(
        alpha=alpha,
        delta=delta,
        threshold=float(thresholds[count - 1]) if count else None,
        n=n,
        answered=m,
        wrong=k,
        base_risk=base,
        feasible=min(1.0, (1 - base) / (1 - alpha)),
        risk_bound=upper_bound(k, m, delta) if count else 0.0,
        coverage_bound=lower_bound(m, n, delta / len(thresholds)) if count else 0.0,  # for all thresholds at once
    )


def naive_threshold(score: Floats, right: Bools, alpha: float) -> float | None:
    """For comparison, what is often done: the loosest threshold whose observed risk is at most alpha. No bound."""
    ranked = np.argsort(-score, kind="stable")
    risk = np.cumsum(~right[ranked]) / np.arange(1, len(score) + 1)
    good = np.flatnonzero(risk <= alpha)
    return float(score[ranked[good[-1]]]) if len(good) else None


def checked(score: ArrayLike, right: ArrayLike) -> tuple[Floats, Bools]:
    """Scores as floats and outcomes as booleans.

    Raises:
        ValueError: none at all, different lengths, a score that is not finite, an outcome that is not 0 or 1.
    """
    scores, outcomes = np.asarray(score, dtype=np.float64), np.asarray(right)
    if scores.ndim != 1 or scores.shape != outcomes.shape or not len(scores):
        shapes = f"{scores.shape} and {outcomes.shape}"
        raise ValueError(fault("score, right", shapes, "are no two lists of one length", "give one of each a question"))
    if not np.isfinite(scores).all():
        raise ValueError(fault("score", float("nan"), "is not finite", "give every question a number"))
    if not np.isin(outcomes, (0, 1)).all():
        raise ValueError(fault("right", str(outcomes.dtype), "is not true or false", "give true, false, 1 or 0"))
    return scores, outcomes.astype(bool)
