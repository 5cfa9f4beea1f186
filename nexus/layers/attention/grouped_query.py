"""Grouped-query attention with RoPE, an optional sliding window and attention sinks.

The one idea: several query heads share one key and value head, so the cache shrinks by that factor.
Paper: Ainslie et al. 2023 (arXiv:2305.13245). With a window the cache is constant in the length of the text.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.attention.visibility import Visibility
from nexus.layers.components.project import project
from nexus.layers.positional.rope import apply_rotary


class AttentionState(NamedTuple):
    """Cached keys and values of one layer.

    ``key`` and ``value`` are (B, Hkv, capacity, D) of which the first ``length`` columns are filled. Single tokens, and
    without a window all, are written in place, so a state that is to be continued twice must be forked first.
    """

    key: Tensor
    value: Tensor
    length: int


class GroupedQueryAttention(nn.Module):
    """Causal attention, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width in and out. n_heads, n_kv_heads: query heads, and key/value heads that they share.
        head_dim: channels of a head; ``d_model // n_heads`` if None.
        qkv_bias: bias on queries, keys and values (Qwen2).
    """

    def __init__(
        self, d_model: int, n_heads: int, n_kv_heads: int, head_dim: int | None = None, qkv_bias: bool = False
    ) -> None:
        super().__init__()
        if n_heads % n_kv_heads:
            raise ValueError(f"n_kv_heads={n_kv_heads}: must divide n_heads={n_heads}; use a divisor, for example 1")
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads
        self.head_dim = head_dim or d_model // n_heads
        self.qkv_proj = nn.Linear(d_model, (n_heads + 2 * n_kv_heads) * self.head_dim, bias=qkv_bias)  # one GEMM
        self.o_proj = nn.Linear(n_heads * self.head_dim, d_model, bias=False)

    def init_state(self, batch_size: int, slots: int = 0) -> AttentionState:
        """An empty cache: growing for ``slots`` = 0, else with that many fixed slots (window and sinks)."""
        empty = self.qkv_proj.weight.new_zeros(batch_size, self.n_kv_heads, slots, self.head_dim)
        return AttentionState(empty, empty.clone(), slots)  # two tensors: a state may be written to, or saved

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor], sight: Visibility, state: AttentionState | None = None
    ) -> tuple[Tensor, AttentionState | None]:
        """Attend from ``x`` (B, T, d_model) to itself and to the cache.

        Args:
            rotary: cos and sin of the new tokens' positions, each (B or 1, 1, T, head_dim).
            sight: which keys are seen and kept, from :func:`nexus.layers.attention.visibility.look`.
            state: the cache; None for none.

        Returns:
            Output (B, T, d_model) and the new cache.
        """
        qkv = project(self.qkv_proj, x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        turned = apply_rotary(qkv[:, : self.n_heads + self.n_kv_heads], *rotary)  # queries and keys in one go
        q, k = turned.split([self.n_heads, self.n_kv_heads], dim=1)
        v = qkv[:, self.n_heads + self.n_kv_heads :]
        if state is not None:
            k, v, state = _extend(state, k, v, sight)
        if x.shape[1] == 1:  # query heads that share a key are as good as queries of one head: the key is read once
            q = q.reshape(len(q), self.n_kv_heads, -1, self.head_dim)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=sight.mask)
            return project(self.o_proj, y.reshape(len(y), 1, -1)), state
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=sight.mask, is_causal=sight.causal, enable_gqa=self.n_heads != self.n_kv_heads
        )
        return project(self.o_proj, y.transpose(1, 2).flatten(-2)), state


def _extend(state: AttentionState, k: Tensor, v: Tensor, sight: Visibility) -> tuple[Tensor, Tensor, AttentionState]:
    """Put new keys to the cached ones; returns all keys, all values and the cache for the next call."""
    if sight.slot is not None:
        return _replace(state, k, v, sight.slot)
    keep = sight.keep
    if keep is None:
        return _grow(state, k, v)
    k, v = torch.cat((state.key, k), dim=2), torch.cat((state.value, v), dim=2)
    if keep.dim() == 1:
        return k, v, AttentionState(k.index_select(2, keep), v.index_select(2, keep), state.length)
    index = keep[:, None, :, None].expand(-1, k.shape[1], -1, k.shape[3])
    return k, v, AttentionState(k.gather(2, index), v.gather(2, index), state.length)


def _replace(state: AttentionState, k: Tensor, v: Tensor, slot: Tensor) -> tuple[Tensor, Tensor, AttentionState]:
    """Write one key and value a row into its slot."""
    key, value = _writable(state.key), _writable(state.value)
    index = slot[:, None, :, None].expand(k.shape)
    key.scatter_(2, index, k.to(key.dtype))
    value.scatter_(2, index, v.to(value.dtype))
    return key, value, AttentionState(key, value, state.length)


def _writable(cache: Tensor) -> Tensor:
    """The cache, or a copy if it may not be written to: autograd needs it, or inference mode made it and is over."""
    locked = cache.requires_grad or (cache.is_inference() and not torch.is_inference_mode_enabled())
    return cache.clone() if locked else cache


def _grow(state: AttentionState, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, AttentionState]:
    """Append without a bound: by copy where gradients are needed, else in place with doubling capacity."""
    end = state.length + k.shape[2]
    if torch.is_grad_enabled():
        k = torch.cat((state.key[:, :, : state.length], k), dim=2)
        v = torch.cat((state.value[:, :, : state.length], v), dim=2)
        return k, v, AttentionState(k, v, end)
    key, value = state.key, state.value
    if end > key.shape[2]:
        spare = max(end, 2 * key.shape[2], 64) - state.length
        key = F.pad(key[:, :, : state.length], (0, 0, 0, spare))
        value = F.pad(value[:, :, : state.length], (0, 0, 0, spare))
    key[:, :, state.length : end], value[:, :, state.length : end] = k, v
    return key[:, :, :end], value[:, :, :end], AttentionState(key, value, end)
