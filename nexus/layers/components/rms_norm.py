"""Root-mean-square normalisation, plain and gated.

The one idea: divide by the root mean square only; no mean is taken off and no bias is added.
Papers: Zhang and Sennrich 2019 (arXiv:1910.07467); gated form: Dao and Gu 2024 (arXiv:2405.21060), section 7.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """``y = x / sqrt(mean(x^2) + eps) * weight`` over the last dimension (arXiv:1910.07467, eq. 4).

    Args:
        dim: width of the last dimension.
        eps: added to the mean square before the root.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (..., dim); same shape and dtype out."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class GatedRMSNorm(nn.Module):
    """``RMSNorm(y * silu(z)) * weight``, the norm taken inside each of ``groups`` equal slices.

    The gate comes before the norm, as in Mamba-2's own code; one group is the whole width.

    Args:
        dim: width of the last dimension.
        groups: number of slices that are normalised apart; divides ``dim``.
        eps: added to the mean square before the root.
    """

    def __init__(self, dim: int, groups: int = 1, eps: float = 1e-6) -> None:
        super().__init__()
        if dim % groups:
            raise ValueError(f"groups={groups}: must divide dim={dim}; use a divisor, for example 1")
        self.weight = nn.Parameter(torch.ones(dim))
        self.groups = groups
        self.eps = eps

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """Gate ``y`` (..., dim) by ``silu(z)`` (..., dim) and normalise."""
        gated = y * F.silu(z)
        if self.groups == 1:
            return F.rms_norm(gated, self.weight.shape, self.weight, self.eps)
        sliced = gated.unflatten(-1, (self.groups, -1))
        return F.rms_norm(sliced, sliced.shape[-1:], None, self.eps).flatten(-2) * self.weight
