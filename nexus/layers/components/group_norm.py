"""Group normalisation.

The one idea: mean and variance over groups of channels of one sample, so that nothing depends on the batch. One group
is LayerNorm over channels and places, as many groups as channels is InstanceNorm. Paper: Wu and He 2018
(arXiv:1803.08494), eq. 1 to 7.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def group_norm(x: Tensor, n_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """The paper's formula, step by step; ``x`` (B, C, ...), weight and bias (C,), both or neither.

    Statistics are in float32 at least.
    """
    grouped = x.to(torch.promote_types(x.dtype, torch.float32)).reshape(len(x), n_groups, -1)
    variance, mean = torch.var_mean(grouped, dim=-1, correction=0, keepdim=True)  # eq. 2, over the set of eq. 7
    y = ((grouped - mean) * torch.rsqrt(variance + eps)).view(x.shape).to(x.dtype)  # eq. 1
    if weight is None or bias is None:
        return y
    shape = (-1,) + (1,) * (x.dim() - 2)
    return torch.addcmul(bias.view(shape), y, weight.view(shape))  # eq. 6


class GroupNorm(nn.Module):
    """Normalise (B, C, ...) in groups of channels, then scale and shift each channel.

    Args:
        n_groups: divides ``channels``. channels: C.
        eps: added to the variance. affine: whether there are weight and bias.
        fused: take torch's kernel instead of :func:`group_norm`. The numbers are the same.
    """

    def __init__(
        self, n_groups: int, channels: int, eps: float = 1e-5, affine: bool = True, fused: bool = True
    ) -> None:
        super().__init__()
        if channels % n_groups:
            raise ValueError(f"n_groups={n_groups}: must divide channels={channels}; use a divisor, for example 1")
        self.n_groups, self.channels, self.eps, self.fused = n_groups, channels, eps, fused
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (B, C, ...); same shape and dtype out."""
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise ValueError(f"x of shape {tuple(x.shape)}: needs {self.channels} channels in its second dimension")
        norm = F.group_norm if self.fused else group_norm
        return norm(x, self.n_groups, self.weight, self.bias, self.eps)
