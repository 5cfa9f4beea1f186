"""Layer normalisation.

The one idea: each position is normalised by the mean and the variance of its own features, so nothing depends on the
batch or on the other positions. Paper: Ba, Kiros and Hinton 2016 (arXiv:1607.06450), eq. 3 and 4.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """The paper's formula, step by step: ``(x - mean) / sqrt(variance + eps) * weight + bias`` over the last dimension.

    Args:
        x: (..., dim); float16 and bfloat16 are normalised in float32.
        weight, bias: (dim,), the paper's gain g and bias b.
        eps: under the root. The paper has none; its own code and every library add one.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = wide - wide.mean(-1, keepdim=True)  # eq. 3, left
    variance = centred.square().mean(-1, keepdim=True)  # eq. 3, right: of all features, hence not n - 1
    normed = centred * torch.rsqrt(variance + eps)
    scaled = normed.to(x.dtype) * weight  # eq. 4
    return scaled if bias is None else scaled + bias


class LayerNorm(nn.Module):
    """Normalises the last dimension to mean 0 and variance 1, then scales and shifts it.

    Args:
        dim: width of the last dimension.
        eps: added to the variance before the root.
        bias: whether something is added after scaling.
        fused: take torch's kernel, which makes one pass over memory, instead of :func:`layer_norm`. The numbers are
            the same.
    """

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = True, fused: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.eps = eps
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (..., dim); same shape and dtype out."""
        if self.fused:
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        return layer_norm(x, self.weight, self.bias, self.eps)
