"""Adaptive LayerNorm with zero start (adaLN-Zero).

The one idea: a condition (time step, class) makes the scale, shift and gate of every norm of a block, and gates start
at zero, so that each block starts as the identity. Paper: Peebles and Xie 2022 (arXiv:2212.09748), section 3.2.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Modulation(NamedTuple):
    """Of one branch, each (B, 1, d_model)."""

    shift: Tensor
    scale: Tensor
    gate: Tensor


class AdaLNZero(nn.Module):
    """The norms of a block of ``branches`` residual branches (attention, feed-forward).

        attention, feed_forward = ada(condition)
        x = x + attention.gate * attend(ada.norm(x, attention))
        x = x + feed_forward.gate * mlp(ada.norm(x, feed_forward))

    Args:
        d_model: width. d_condition: width of the condition; ``d_model`` if None.
        branches: residual branches of the block. eps: of the norm.
    """

    def __init__(self, d_model: int, d_condition: int | None = None, branches: int = 2, eps: float = 1e-6) -> None:
        super().__init__()
        self.branches, self.eps = branches, eps
        self.proj = nn.Linear(d_condition or d_model, 3 * branches * d_model)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, condition: Tensor) -> tuple[Modulation, ...]:
        """One modulation a branch, from ``condition`` (B, d_condition)."""
        parts = self.proj(F.silu(condition)).unsqueeze(1).chunk(3 * self.branches, dim=-1)
        return tuple(Modulation(*parts[3 * i : 3 * i + 3]) for i in range(self.branches))

    def norm(self, x: Tensor, by: Modulation) -> Tensor:
        """``LayerNorm(x) * (1 + scale) + shift`` of ``x`` (B, T, d_model); the norm has no weights of its own."""
        return torch.addcmul(by.shift, F.layer_norm(x, x.shape[-1:], eps=self.eps), 1 + by.scale)
