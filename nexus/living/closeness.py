"""How far two sentence vectors differ in what they mean, rather than in how it is worded.

The one idea: probabilistic linear discriminant analysis. A vector is its meaning plus its wording; both are Gaussian,
and how much they vary is learnt from groups of sentences that mean the same. The closeness of two vectors is then the
log-likelihood ratio of "one meaning" against "two", for meanings that were never seen, too. Sources: Ioffe 2006
("Probabilistic Linear Discriminant Analysis", ECCV), equations 2 to 4; Prince and Elder 2007 for open sets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SHRINK = 0.9  # of the wording's covariance towards a multiple of one: there are few sentences of a meaning
LEAST = 1e-3  # a direction whose meanings vary less than this, in units of wording, says nothing


@dataclass(frozen=True)
class Closeness:
    """Vectors (n, d) are projected to (n, k) by ``(vectors - mean) @ axes``; ``spread`` (k,) is how far meanings vary
    along each axis where wording varies by 1."""

    mean: Floats
    axes: Floats
    spread: Floats

    def project(self, vectors: NDArray[np.floating]) -> Floats:
        """The vectors along the axes (n, k)."""
        return np.asarray((vectors - self.mean) @ self.axes, dtype=np.float64)

    def ratio(self, one: Floats, others: Floats) -> Floats:
        """Log-likelihood ratios (n,) of a projected vector (k,) with others (n, k)."""
        made: Floats = self.ratios(one[None], others, self.alone(others))[0]
        return made

    def ratios(self, ones: Floats, others: Floats, alone: Floats) -> Floats:
        """Those of each of ``ones`` (n, k) with each of ``others`` (m, k), of which ``alone`` (m,) was made before."""
        total = self.spread + 1
        joint = total**2 - self.spread**2
        constant = -0.5 * np.log(joint / total**2).sum()
        made: Floats = constant + self.alone(ones)[:, None] + alone + (ones * (self.spread / joint)) @ others.T
        return made

    def alone(self, vectors: Floats) -> Floats:
        """The part (n,) of a ratio that projected vectors (n, k) have without the other."""
        total = self.spread + 1
        made: Floats = (vectors**2) @ ((1 / total - total / (total**2 - self.spread**2)) / 2)
        return made


def fit(vectors: NDArray[np.floating], groups: NDArray[np.integer]) -> Closeness:
    """Learn from vectors (n, d); those with the same number in groups (n,) mean the same.

    Raises:
        ValueError: fewer than two groups, or none with two vectors.
    """
    names, place = np.unique(groups, return_inverse=True)
    if not 2 <= len(names) < len(vectors):
        raise ValueError(f"groups: {len(names)} of {len(vectors)} vectors. cure: give two groups or more, with pairs")
    data = np.asarray(vectors, dtype=np.float64)
    mean = data.mean(0)
    size = np.bincount(place)
    centres = np.zeros((len(names), data.shape[1]))
    np.add.at(centres, place, data - mean)
    centres /= size[:, None]
    rest = data - mean - centres[place]
    wording = rest.T @ rest / (len(data) - len(names))
    between = np.cov(centres.T) - wording * (len(names) / len(data))
    even = np.trace(wording) / len(wording) * np.eye(len(wording))
    return _axes(mean, (1 - SHRINK) * wording + SHRINK * even, between)


def _axes(mean: Floats, wording: Floats, between: Floats) -> Closeness:
    """The directions in which wording varies by 1 and meanings are uncorrelated."""
    whiten = np.linalg.inv(np.linalg.cholesky(wording + 1e-9 * np.eye(len(wording))))
    spread, turn = np.linalg.eigh(whiten @ between @ whiten.T)
    kept = spread > LEAST
    return Closeness(mean, whiten.T @ turn[:, kept], spread[kept])
