"""Differential attention: the difference of two softmax maps.

The one idea: what two maps have in common is noise, so subtracting one from the other, times a learnt lambda, leaves
what matters. Paper: Ye et al. 2024 (arXiv:2410.05258), eq. 1 to 3. Paper and code: the authors' per-head norm has a
weight, the port in transformers has none; ``norm_weight`` picks.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.attention.multi_head import softmax_attention
from nexus.layers.components.rms_norm import RMSNorm
from nexus.layers.positional.rope import apply_rotary


class DifferentialAttention(nn.Module):
    """``(softmax(Q1 K1) - lambda softmax(Q2 K2)) V`` per head, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width in and out.
        n_heads: heads; each has two queries and keys of D = d_model / n_heads / 2 channels and a value of 2 D.
        depth: number of the layer, from 0; deeper layers subtract more at the start.
        norm_weight: whether the norm of a head's output has a weight.
    """

    def __init__(self, d_model: int, n_heads: int, depth: int = 0, norm_weight: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        if d_model % (2 * n_heads):
            raise ValueError(f"n_heads={n_heads}: 2 n_heads must divide d_model={d_model}; use fewer heads")
        self.n_heads, self.head_dim = n_heads, d_model // n_heads // 2
        self.qkv_proj = nn.Linear(d_model, 3 * d_model, bias=False)
        self.o_proj = nn.Linear(d_model, d_model, bias=False)
        self.lambdas = nn.Parameter(torch.randn(4, self.head_dim) * 0.1)  # q1, k1, q2, k2
        self.lambda_init = 0.8 - 0.6 * math.exp(-0.3 * depth)
        self.norm = RMSNorm(2 * self.head_dim, eps) if norm_weight else None
        self.eps = eps

    def factor(self) -> Tensor:
        """Lambda (eq. 2)."""
        q1, k1, q2, k2 = self.lambdas
        return (q1 @ k1).exp() - (q2 @ k2).exp() + self.lambda_init

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        rotary: tuple[Tensor, Tensor] | None = None,
        causal: bool = True,
    ) -> Tensor:
        """Attend over ``x`` (B, T, d_model); arguments as in :class:`MultiHeadAttention`."""
        # Heads are laid out as all first halves, then all second ones.
        q, k, v = (t.unflatten(-1, (2 * self.n_heads, -1)).transpose(1, 2) for t in self.qkv_proj(x).chunk(3, dim=-1))
        if rotary is not None:
            q, k = apply_rotary(q, *rotary), apply_rotary(k, *rotary)
        v = torch.cat(v.chunk(2, dim=1), dim=-1)  # (B, H, T, 2 D), for both maps
        first, second = (
            softmax_attention(a, b, v, mask, None, causal) for a, b in zip(q.chunk(2, 1), k.chunk(2, 1), strict=True)
        )
        y = torch.addcmul(first, second, self.factor(), value=-1)
        y = F.rms_norm(y, y.shape[-1:], eps=self.eps) if self.norm is None else self.norm(y)
        y = y * (1 - self.lambda_init)  # so that the gradient is as large as without the norm (eq. 3)
        return self.o_proj(y.transpose(1, 2).flatten(-2))
