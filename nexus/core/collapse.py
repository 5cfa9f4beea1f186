"""Keeping representations from collapsing, and noticing when they do.

The one idea: a predictor of its own features is content when all features are equal. Two regularisers forbid it: SIGReg
asks every random projection of the features to look like a standard normal (Balestriero and LeCun 2025,
arXiv:2511.08544), variance-covariance asks each channel to vary and channels not to repeat each other (VICReg, Bardes
et al. 2022, arXiv:2105.04906, eqs. 1 to 4). The alarm looks at the number of directions in use (RankMe, Garrido et al.
2023, arXiv:2210.02885, eq. 1) and at how much the median channel varies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

RANK_SHARE = 0.1  # fewer directions in use than this share of the width: collapsed
LEAST_DEVIATION = 0.2  # a channel that varies less than this, where both regularisers ask for 1: collapsed


@dataclass(frozen=True)
class CollapseReport:
    """How far features are spread out.

    Attributes:
        effective_rank: exponential of the entropy of the normalised singular values: directions in use.
        width: directions there are.
        deviation: standard deviation of the median channel.
        collapsed: fewer than a tenth of the directions in use, or the median channel hardly varies.
    """

    effective_rank: float
    width: int
    deviation: float

    @property
    def collapsed(self) -> bool:
        """Whether the alarm is raised; values that are no numbers raise it too."""
        healthy = self.effective_rank >= RANK_SHARE * self.width and self.deviation >= LEAST_DEVIATION
        return not healthy


@torch.no_grad()
def collapse_report(features: Tensor) -> CollapseReport:
    """Look at ``features`` (..., D), of which there should be well above D."""
    rows = features.detach().reshape(-1, features.shape[-1]).double()
    rows = rows - rows.mean(0)
    deviation = float(rows.square().mean(0).sqrt().median())
    if not bool(rows.isfinite().all()):
        return CollapseReport(math.nan, rows.shape[1], math.nan)
    sizes = torch.linalg.eigvalsh(rows.mT @ rows).clamp(min=0).sqrt()  # a third of the time of the rows' own
    share = sizes / sizes.sum().clamp(min=1e-12)
    entropy = -(share * share.clamp(min=1e-12).log()).sum()
    return CollapseReport(float(entropy.exp()), rows.shape[1], deviation)


def sigreg(features: Tensor, slices: int = 64, points: int = 9, generator: torch.Generator | None = None) -> Tensor:
    """Epps-Pulley distance of random projections of ``features`` (..., D) from a standard normal, a scalar.

    For each of ``slices`` directions the empirical characteristic function is compared with exp(-t^2 / 2) at ``points``
    in [0, 5], weighted by the same bell; the other half is its mirror image (arXiv:2511.08544, section 4).
    """
    rows = features.reshape(-1, features.shape[-1])
    draw = torch.randn(rows.shape[1], slices, generator=generator, dtype=rows.dtype)
    directions = torch.nn.functional.normalize(draw, dim=0).to(rows.device)
    t = torch.linspace(0, 5, points, dtype=rows.dtype, device=rows.device)
    bell = (-t.square() / 2).exp()
    angles = (rows @ directions).unsqueeze(-1) * t  # (N, slices, points)
    gap = (angles.cos().mean(0) - bell).square() + angles.sin().mean(0).square()
    return 2 * torch.trapezoid(gap * bell, t, dim=-1).mean() * len(rows) ** 0.5


def variance_covariance(features: Tensor) -> Tensor:
    """VICReg's hinge on the deviation of each channel of ``features`` (..., D) plus squared covariances, a scalar."""
    rows = features.reshape(-1, features.shape[-1])
    rows = rows - rows.mean(0)
    deviation = (rows.square().mean(0) + 1e-4).sqrt()
    covariance = rows.mT @ rows / max(len(rows) - 1, 1)
    off = covariance.square().sum() - covariance.diagonal().square().sum()
    return (1 - deviation).relu().mean() + off / rows.shape[1]
