"""A threshold that follows what becomes of the answers: stricter after a wrong one, a little looser after right ones.

The one idea: with ``t += step * (wrong - alpha)`` after every label, never below where it began, the wrong ones among
all labels so far are at most ``alpha + (t - start) / (step * labels)``, whatever comes (the sum telescopes). As scores
end at 1, ``t`` cannot climb far above it, so the share of wrong answers ends at alpha or below in the long run. That is
all it says: nothing about the next answer, and nothing about any stretch of them. Source: adaptive conformal inference,
Gibbs and Candes 2021 (arXiv:2106.00410, proposition 4.1).
"""

from __future__ import annotations

from nexus.core.config import fault
from nexus.living.bounds import level


class Adaptive:
    """An adaptive threshold on scores in [0, 1].

    Args:
        start: the certified threshold; it is never undercut, so the certificate holds beside the long-run bound.
        alpha: the share of wrong answers that is aimed at.
        step: by how much a label moves it.
    """

    def __init__(self, start: float, alpha: float, step: float) -> None:
        if not 0 < step <= 1:
            raise ValueError(fault("step", step, "is out of range", "give a number above 0 and up to 1, such as 0.01"))
        self.start, self.alpha, self.step = float(start), level("alpha", alpha), float(step)
        self.threshold, self.labels = self.start, 0

    @property
    def bound(self) -> float:
        """The largest share of wrong ones that the labels so far can have had; 1 before the first."""
        if not self.labels:
            return 1.0
        return min(1.0, self.alpha + (self.threshold - self.start) / (self.step * self.labels))

    def feed(self, right: bool) -> float:
        """Take the label of one answer that was given; returns the new threshold."""
        self.threshold = max(self.start, self.threshold + self.step * ((not right) - self.alpha))
        self.labels += 1
        return self.threshold
