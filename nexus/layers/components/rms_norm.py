"""Root-mean-square normalisation, plain and gated.

The one idea: divide by the root mean square only; no mean is taken off and no bias is added. Written by hand for the
sake of memory: forward works in one buffer, backward recomputes what it needs and keeps nothing but the inputs.
Papers: Zhang and Sennrich 2019 (arXiv:1910.07467); gated form: Dao and Gu 2024 (arXiv:2405.21060), section 7.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """``y = x / sqrt(mean(x^2) + eps) * weight`` over the last dimension (arXiv:1910.07467, eq. 4).

    Args:
        dim: width of the last dimension.
        eps: added to the mean square before the root.
        unit_offset: the factor is ``1 + weight``, and weights start at zero (Gemma).
    """

    def __init__(self, dim: int, eps: float = 1e-6, unit_offset: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim) if unit_offset else torch.ones(dim))
        self.eps, self.unit_offset = eps, unit_offset

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (..., dim); same shape and dtype out."""
        weight = 1 + self.weight if self.unit_offset else self.weight
        if torch.is_grad_enabled():
            return _RMSNorm.apply(x, weight, self.eps)
        if _is_one_token(x):
            return (x * _scale_by_product(x, self.eps)).mul_(weight)
        return F.rms_norm(x, weight.shape, weight, self.eps)


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
        weight = self.weight.view(self.groups, -1)
        y, z = (t.unflatten(-1, weight.shape) for t in (y, z))
        if torch.is_grad_enabled():
            return _GatedRMSNorm.apply(y, z, weight, self.eps).flatten(-2)
        gated = F.silu(z).mul_(y)
        scale = (_scale_by_product if _is_one_token(gated) else _scale)(gated, self.eps)
        return gated.mul_(scale).mul_(weight).flatten(-2)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = _scale(x, eps)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        return *_backward(grads[0], x * scale, weight, scale), None


class _GatedRMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, z: Tensor, weight: Tensor, eps: float) -> Tensor:
        gated = F.silu(z).mul_(y)
        scale = _scale(gated, eps)
        ctx.save_for_backward(y, z, weight, scale)
        return gated.mul_(scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        y, z, weight, scale = ctx.saved_tensors
        gate = F.silu(z)
        dgated, dweight = _backward(grads[0], (gate * y).mul_(scale), weight, scale)
        dy = gate.mul_(dgated)
        return dy, torch.ops.aten.silu_backward(dgated.mul_(y), z), dweight, None


def _scale(x: Tensor, eps: float) -> Tensor:
    """``1 / sqrt(mean(x^2) + eps)`` (..., 1); the vector norm needs one pass where square and mean need two."""
    wide = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)


def _is_one_token(x: Tensor) -> bool:
    """Whether ``x`` (B, T, ...) is one step of decoding: there the number of calls counts, not the memory."""
    exact = x.dtype in (torch.float32, torch.float64)
    return exact and x.dim() > 2 and x.shape[1] == 1 and not torch.compiler.is_compiling()


def _scale_by_product(x: Tensor, eps: float) -> Tensor:
    """:func:`_scale` in two calls: the mean square of each row as its product with itself."""
    rows = x.reshape(-1, 1, x.shape[-1])
    mean = torch.baddbmm(_constant(eps, x.dtype, x.device), rows, rows.mT, alpha=1 / x.shape[-1])
    return mean.rsqrt_().view(*x.shape[:-1], 1)


@cache
def _constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((1, 1, 1), value, dtype=dtype, device=device)


def _backward(grad: Tensor, normed: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of ``x`` and weight in ``y = normed * weight``, ``normed = x * scale(x)``; uses ``normed`` up."""
    product = grad * normed
    dweight = product.flatten(0, -1 - weight.dim()).sum(0)
    along = product.mul_(weight).mean(-1, keepdim=True)  # of the gradient, what would only change the length of x
    dx = torch.mul(grad, weight, out=product).sub_(normed.mul_(along))
    return dx.mul_(scale), dweight
