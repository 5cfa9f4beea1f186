"""Multi-head attention: self or cross, causal or not, with masks, biases and rotary positions.

The one idea: every query takes the mean of all values, weighted by how well their keys match it, in several subspaces
at once. Paper: Vaswani et al. 2017 (arXiv:1706.03762), section 3.2. A query that may see nothing gets zeros, not NaN.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.positional.rope import apply_rotary


class MultiHeadAttention(nn.Module):
    """``softmax(Q K^T / sqrt(d)) V`` in ``n_heads`` subspaces, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width in and out. n_heads: divides it.
        bias: bias on all four projections.
    """

    def __init__(self, d_model: int, n_heads: int, bias: bool = True) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"n_heads={n_heads}: must divide d_model={d_model}; use a divisor, for example 1")
        self.n_heads, self.head_dim = n_heads, d_model // n_heads
        self.qkv_proj = nn.Linear(d_model, 3 * d_model, bias=bias)  # one GEMM; rows: queries, keys, values
        self.o_proj = nn.Linear(d_model, d_model, bias=bias)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        rotary: tuple[Tensor, Tensor] | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Attend from ``x`` (B, T, d_model) to ``context`` (B, K, d_model), to itself if None.

        Args:
            mask: True where a query may look; broadcasts to (B, H, T, K).
            bias: added to the scores, for relative positions; broadcasts to (B, H, T, K).
            rotary: cos and sin from :class:`nexus.layers.positional.rope.RotaryEmbedding`, for queries and keys.
            causal: query t sees no key behind t; with K != T the last query stands at the last key.
        """
        q, k, v = self.project(x, context)
        if rotary is not None:
            q, k = apply_rotary(q, *rotary), apply_rotary(k, *rotary)
        y = self.attend(q, k, v, mask, bias, causal)
        return self.o_proj(y.transpose(1, 2).flatten(-2))

    def project(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, T, D), keys and values (B, H, K, D)."""
        if context is None:
            parts = self.qkv_proj(x).chunk(3, dim=-1)
        else:
            rows = x.shape[-1], 2 * x.shape[-1]
            weights = self.qkv_proj.weight.split(rows)
            biases = (None, None) if self.qkv_proj.bias is None else self.qkv_proj.bias.split(rows)
            both = F.linear(context, weights[1], biases[1])
            parts = (F.linear(x, weights[0], biases[0]), *both.chunk(2, dim=-1))
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in parts)
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None, causal: bool) -> Tensor:
        """The attention itself on projected heads; what the fast forms replace."""
        return softmax_attention(q, k, v, mask, bias, causal)

    def weights(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Attention weights (B, H, T, T) of self-attention, to look at."""
        q, k, _ = self.project(x)
        return attention_weights(q, k, mask, None, causal)


def attention_weights(
    q: Tensor, k: Tensor, mask: Tensor | None = None, bias: Tensor | None = None, causal: bool = False
) -> Tensor:
    """``softmax(q k^T / sqrt(d))`` (eq. 1), the plain form; a row that sees nothing is zeros."""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if bias is not None:
        scores = scores + bias
    if causal:
        past = causal_mask(q.shape[-2], k.shape[-2], q.device)
        mask = past if mask is None else mask & past
    if mask is None:
        return scores.softmax(-1)
    blind = ~mask.any(-1, keepdim=True)
    return scores.masked_fill(~(mask | blind), float("-inf")).softmax(-1).masked_fill(blind, 0.0)


def softmax_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """:func:`attention_weights` times ``v`` through torch's fused kernel; (..., T, D), (..., K, D) to (..., T, D)."""
    if causal and (mask is not None or bias is not None or q.shape[-2] != k.shape[-2]):
        past = causal_mask(q.shape[-2], k.shape[-2], q.device)
        mask, causal = past if mask is None else mask & past, False
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal)
    blind = ~mask.any(-1, keepdim=True)
    mask = mask | blind  # softmax over nothing is not a number: a blind row looks everywhere, and is zeroed after
    if bias is not None:
        bias = bias.masked_fill(~mask, float("-inf"))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask if bias is None else bias)
    return y.masked_fill(blind, 0.0)


def causal_mask(length: int, keys: int, device: torch.device) -> Tensor:
    """(T, K) True where a query may look; the last query stands at the last key."""
    return torch.ones(length, keys, dtype=torch.bool, device=device).tril(keys - length)
