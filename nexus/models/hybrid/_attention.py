"""Attention with a cache that is passed and returned, as the hybrids share it: grouped queries, window, sinks, RoPE.

The one idea: positions are counted from the cache, so whole, chunked and one-token calls are the same call. Grouped
queries: arXiv:2305.13245; sliding window: arXiv:2004.05150; sinks: arXiv:2309.17453.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.positional import RotaryEmbedding, apply_rotary


class AttentionCache(NamedTuple):
    """Keys and values seen so far; with a window only what can still be seen."""

    key: Tensor  # (B, Hkv, K, D)
    value: Tensor  # (B, Hkv, K, D)
    position: int  # of the next token


class CachedAttention(nn.Module):
    """Causal attention, (B, T, d_in) to (B, T, d_out).

    Args:
        d_in, d_out: width in, and out (None: d_in). n_heads, n_kv_heads, head_dim: query heads, key and value heads,
            and their channels.
        rope_theta: base of the rotary embedding; None: no positions. rotary_fraction: share of each head that turns,
            its first channels.
        window: how many last tokens are seen, the own included; 0: all. sinks: first tokens that stay visible.
        scale: of the scores; None is 1 / sqrt(head_dim). bias, out_bias: on q, k and v, and on the output.
        project_out: False leaves out the output projection.
    """

    def __init__(
        self,
        d_in: int,
        n_heads: int,
        n_kv_heads: int,
        head_dim: int,
        d_out: int | None = None,
        rope_theta: float | None = None,
        rotary_fraction: float = 1.0,
        window: int = 0,
        sinks: int = 0,
        scale: float | None = None,
        bias: bool = False,
        out_bias: bool = False,
        project_out: bool = True,
    ) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = n_heads, n_kv_heads, head_dim
        self.window, self.sinks, self.scale = window, sinks, scale
        self.q_proj = nn.Linear(d_in, n_heads * head_dim, bias=bias)
        self.k_proj, self.v_proj = (nn.Linear(d_in, n_kv_heads * head_dim, bias=bias) for _ in range(2))
        self.o_proj = nn.Linear(n_heads * head_dim, d_out or d_in, bias=out_bias) if project_out else nn.Identity()
        turning = 0 if rope_theta is None else int(head_dim * rotary_fraction)
        self.rotary = RotaryEmbedding(turning, rope_theta or 1.0) if turning else None

    def init_state(self, batch_size: int) -> AttentionCache:
        """The empty cache."""
        empty = self.q_proj.weight.new_zeros(batch_size, self.n_kv_heads, 0, self.head_dim)
        return AttentionCache(empty, empty, 0)

    def forward(self, x: Tensor, state: AttentionCache | None = None) -> tuple[Tensor, AttentionCache | None]:
        """Attend from ``x`` (B, T, d_in) to itself and to the cache; without one it starts at 0 and returns none."""
        q, k, v = self.project(x)
        y, after = self.attend(q, k, v, state)
        return self.o_proj(y), after

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, heads, T, head_dim), not turned yet."""
        q, k, v = (self._heads(proj(x)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        return q, k, v

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, state: AttentionCache | None
    ) -> tuple[Tensor, AttentionCache | None]:
        """Positions, cache, softmax: heads joined again, (B, T, n_heads * head_dim)."""
        start = 0 if state is None else state.position
        q, k = self.turn(q, start), self.turn(k, start)
        if state is not None:
            k, v = torch.cat((state.key, k), dim=2), torch.cat((state.value, v), dim=2)
        y = self.look(q, k, v, start)
        return y, None if state is None else self._kept(k, v, start + q.shape[2])

    def turn(self, x: Tensor, start: int) -> Tensor:
        """Rotary embedding of the first channels, from position ``start`` on."""
        if self.rotary is None:
            return x
        angles = self.rotary(torch.arange(start, start + x.shape[2], device=x.device)[None], x.dtype)
        turned, still = x.split([self.rotary.head_dim, self.head_dim - self.rotary.head_dim], dim=-1)
        return torch.cat((apply_rotary(turned, *angles), still), dim=-1)

    def look(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> Tensor:
        """Softmax over the keys that each query may see."""
        mask = self.mask(q.shape[2], k.shape[2], start, q.device)
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, scale=self.scale, enable_gqa=self.n_heads != self.n_kv_heads
        )
        return y.transpose(1, 2).flatten(-2)

    def mask(self, queries: int, keys: int, start: int, device: torch.device) -> Tensor:
        """(T, K) True where a query may look."""
        at = torch.arange(start, start + queries, device=device)[:, None]
        known = self._positions(keys, start + queries, device)
        seen = known <= at
        if self.window:
            seen &= (known > at - self.window) | (known < self.sinks)
        return seen

    def _positions(self, keys: int, end: int, device: torch.device) -> Tensor:
        """Positions of the kept keys: sinks first, then the last ones, up to ``end``."""
        known = torch.arange(end - keys, end, device=device)
        if self.window and end > keys:
            known[: self.sinks] = torch.arange(self.sinks, device=device)
        return known

    def _kept(self, k: Tensor, v: Tensor, end: int) -> AttentionCache:
        spare = k.shape[2] - self.sinks - self.window
        if self.window and spare > 0:  # the last `window` keys and the sinks: more will never be seen
            k, v = (torch.cat((t[:, :, : self.sinks], t[:, :, self.sinks + spare :]), dim=2) for t in (k, v))
        return AttentionCache(k, v, end)
