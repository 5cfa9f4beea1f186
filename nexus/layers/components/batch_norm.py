"""Batch normalisation.

The one idea: bring every channel to mean 0 and variance 1 over the batch, so that each layer sees inputs of one size
whatever the layers before it do; when it is used, averages that were kept in training take the batch's place. Paper:
Ioffe and Szegedy 2015 (arXiv:1502.03167), algorithms 1 and 2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def normalised(x: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    """``(x - mean) / sqrt(variance + eps)`` (algorithm 1, line 3) of ``x`` (B, C, ...) with statistics (C,)."""
    shape = (-1,) + (1,) * (x.dim() - 2)
    return (x - mean.view(shape)) * torch.rsqrt(variance + eps).view(shape)


class BatchNorm(nn.Module):
    """Normalise (B, C, ...) channel by channel, then scale and shift each.

    Args:
        channels: C. eps: added to the variance.
        momentum: share that a batch has in the running averages; 0.1 is torch's, the paper gives none.
        affine: whether there are weight and bias.
        fused: take torch's kernel instead of :func:`normalised`. The numbers are the same.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True, fused: bool = True
    ) -> None:
        super().__init__()
        self.channels, self.eps, self.momentum, self.fused = channels, eps, momentum, fused
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (B, C, ...); in training by its own statistics, which the averages then follow."""
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise ValueError(f"x of shape {tuple(x.shape)}: needs {self.channels} channels in its second dimension")
        if self.training and x.numel() == self.channels:
            raise ValueError(f"x of shape {tuple(x.shape)}: one number a channel has no variance; use a larger batch")
        if self.fused:
            averages = (self.running_mean, self.running_var)
            return F.batch_norm(x, *averages, self.weight, self.bias, self.training, self.momentum, self.eps)
        y = normalised(x, *self._statistics(x), self.eps).to(x.dtype)
        if self.weight is None or self.bias is None:
            return y
        shape = (-1,) + (1,) * (x.dim() - 2)
        return torch.addcmul(self.bias.view(shape), y, self.weight.view(shape))

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (C,): of the batch in training (algorithm 1), else the averages (algorithm 2)."""
        if not self.training:
            return self.running_mean, self.running_var
        by_channel = x.to(torch.promote_types(x.dtype, torch.float32)).transpose(0, 1).flatten(1)
        variance, mean = torch.var_mean(by_channel, dim=1, correction=0)
        count = by_channel.shape[1]
        with torch.no_grad():  # the averages follow the unbiased variance (algorithm 2, line 10)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), self.momentum)
        return mean, variance
