"""Causal depthwise convolution followed by SiLU, with a hand-written backward.

The one idea: with four taps, shifted products beat any convolution routine on a CPU, but automatic differentiation of a
slice fills a whole tensor with zeros for each tap; written by hand, backward is as cheap as forward (measured: the
mixer's training step takes 0.7x the time). The convolution of Mamba (Gu and Dao 2023, arXiv:2312.00752, section 3.4).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def causal_conv_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``silu(bias + sum_j weight[:, j] * x[:, t + j])``.

    Args:
        x: (B, T + K - 1, C): the inputs with the K - 1 before them in front.
        weight: (C, K). bias: (C,).

    Returns:
        (B, T, C).
    """
    return _CausalConvSilu.apply(x, weight, bias)


class _CausalConvSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        taps = weight.t().contiguous()
        length = x.shape[1] - len(taps) + 1
        y = torch.addcmul(bias, x[:, :length], taps[0])
        for shift in range(1, len(taps)):
            y.addcmul_(x[:, shift : shift + length], taps[shift])
        ctx.save_for_backward(x, taps, y)
        return F.silu(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, taps, y = ctx.saved_tensors
        grad = torch.ops.aten.silu_backward(grads[0].contiguous(), y)
        length = y.shape[1]
        grad_x = torch.zeros_like(x)
        grad_taps = torch.empty_like(taps)
        scratch = torch.empty_like(grad)
        for shift in range(len(taps)):
            part = slice(shift, shift + length)
            grad_x[:, part].addcmul_(grad, taps[shift])
            torch.mul(grad, x[:, part], out=scratch)
            torch.sum(scratch, (0, 1), out=grad_taps[shift])
        return grad_x, grad_taps.t(), grad.sum((0, 1))
