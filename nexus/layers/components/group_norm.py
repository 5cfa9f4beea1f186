"""Group normalisation.

The one idea: mean and variance over groups of channels of one sample, so that nothing depends on the batch. One group
is LayerNorm over channels and places, as many groups as channels is InstanceNorm. Written by hand like RMSNorm: forward
works in one buffer, backward keeps nothing but the input. Paper: Wu and He 2018 (arXiv:1803.08494), eq. 1 to 7.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class GroupNorm(nn.Module):
    """Normalise (B, C, ...) in groups of channels, then scale and shift each channel.

    Args:
        n_groups: divides ``channels``. channels: C.
        eps: added to the variance. affine: whether there are weight and bias.
    """

    def __init__(self, n_groups: int, channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        if channels % n_groups:
            raise ValueError(f"n_groups={n_groups}: must divide channels={channels}; use a divisor, for example 1")
        self.n_groups, self.channels, self.eps = n_groups, channels, eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (B, C, ...); same shape and dtype out."""
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise ValueError(f"x of shape {tuple(x.shape)}: needs {self.channels} channels in its second dimension")
        grouped = x.reshape(len(x), self.n_groups, -1)
        y = _GroupNorm.apply(grouped, self.eps).view(x.shape)
        if self.weight is None or self.bias is None:
            return y
        shape = (-1,) + (1,) * (x.dim() - 2)
        return torch.addcmul(self.bias.view(shape), y, self.weight.view(shape))


class _GroupNorm(torch.autograd.Function):
    """``(x - mean) / sqrt(var + eps)`` over the last dimension."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        variance, mean = torch.var_mean(x.to(wide), dim=-1, correction=0, keepdim=True)
        scale = (variance + eps).rsqrt_()
        y = ((x - mean) * scale).to(x.dtype)
        ctx.save_for_backward(x, mean, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        x, mean, scale = ctx.saved_tensors
        y, grad = (x - mean).mul_(scale), grads[0].to(mean.dtype)
        along = (grad * y).mean(-1, keepdim=True)  # of the gradient, what would only stretch the group
        return (grad - grad.mean(-1, keepdim=True)).sub_(y.mul_(along)).mul_(scale).to(x.dtype), None
