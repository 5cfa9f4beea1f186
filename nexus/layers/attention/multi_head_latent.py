"""Multi-head latent attention (MLA).

The one idea: cache one short latent vector a token instead of keys and values for every head. At decoding the matrices
that would unfold it are multiplied into queries and outputs, so heads attend to the latents themselves; a few rotary
channels, which cannot be multiplied in, are cached beside it. Paper: DeepSeek-V2 2024 (arXiv:2405.04434), eq. 9 to 19.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nexus.layers.attention.multi_head import softmax_attention
from nexus.layers.components.rms_norm import RMSNorm
from nexus.layers.positional.rope import apply_rotary, to_half_split


class LatentState(NamedTuple):
    """The cache: latents (B, K, kv_rank) and rotary keys (B, K, rope_dim), shared by all heads."""

    latent: Tensor
    rope_key: Tensor


class MultiHeadLatentAttention(nn.Module):
    """Causal attention over latents, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width in and out. n_heads: heads.
        kv_rank: width of the latent. q_rank: width of the queries' own latent; None for plain queries.
        head_dim: channels of a head without position, and of its value. rope_dim: rotary channels beside them.
        interleaved: rotary pairs are neighbours in the projections (DeepSeek's layout), else halves.
        eps: of the norms.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        kv_rank: int,
        q_rank: int | None = None,
        head_dim: int = 128,
        rope_dim: int = 64,
        interleaved: bool = True,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.n_heads, self.head_dim, self.rope_dim, self.kv_rank = n_heads, head_dim, rope_dim, kv_rank
        self.interleaved = interleaved
        width = n_heads * (head_dim + rope_dim)
        if q_rank is None:
            self.q_proj: nn.Module = nn.Linear(d_model, width, bias=False)
        else:
            self.q_proj = nn.Sequential(
                nn.Linear(d_model, q_rank, bias=False), RMSNorm(q_rank, eps), nn.Linear(q_rank, width, bias=False)
            )
        self.kv_down_proj = nn.Linear(d_model, kv_rank + rope_dim, bias=False)
        self.kv_norm = RMSNorm(kv_rank, eps)
        self.kv_up_proj = nn.Linear(kv_rank, 2 * n_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(n_heads * head_dim, d_model, bias=False)

    def init_state(self, batch_size: int) -> LatentState:
        """An empty cache."""
        weight = self.o_proj.weight
        return LatentState(
            weight.new_zeros(batch_size, 0, self.kv_rank), weight.new_zeros(batch_size, 0, self.rope_dim)
        )

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        state: LatentState | None = None,
        absorb: bool | None = None,
    ) -> tuple[Tensor, LatentState]:
        """Attend from ``x`` (B, T, d_model) to itself and to the cache.

        Args:
            rotary: cos and sin of the new positions for ``rope_dim`` channels.
            absorb: attend to the latents themselves; None does so for single tokens, where it reads the least memory.

        Returns:
            Output (B, T, d_model) and the new cache.
        """
        q = self.q_proj(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        q, q_rope = q.split([self.head_dim, self.rope_dim], dim=-1)
        latent, k_rope = self.kv_down_proj(x).split([self.kv_rank, self.rope_dim], dim=-1)
        latent, k_rope = self.kv_norm(latent), k_rope.unsqueeze(1)
        if self.interleaved:
            q_rope, k_rope = to_half_split(q_rope), to_half_split(k_rope)
        q_rope, k_rope = apply_rotary(q_rope, *rotary), apply_rotary(k_rope, *rotary).squeeze(1)
        if state is not None:
            latent = torch.cat((state.latent, latent), dim=1)
            k_rope = torch.cat((state.rope_key, k_rope), dim=1)
        attend = self._absorbed if (x.shape[1] == 1 if absorb is None else absorb) else self._unfolded
        y = attend(q, q_rope, latent, k_rope)
        return self.o_proj(y.transpose(1, 2).flatten(-2)), LatentState(latent, k_rope)

    def _unfolded(self, q: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor) -> Tensor:
        """Keys and values for every head, then attention as usual (eq. 13 to 18)."""
        kv = self.kv_up_proj(latent).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        k, v = kv.chunk(2, dim=-1)
        k = torch.cat((k, k_rope.unsqueeze(1).expand(-1, self.n_heads, -1, -1)), dim=-1)
        return softmax_attention(torch.cat((q, q_rope), dim=-1), k, v, causal=True)

    def _absorbed(self, q: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor) -> Tensor:
        """The same without unfolding: ``(q W_k) c`` for ``q (W_k c)``, and values are unfolded after the mean."""
        w_k, w_v = self.kv_up_proj.weight.view(self.n_heads, 2, self.head_dim, self.kv_rank).unbind(1)
        q = torch.cat((q @ w_k, q_rope), dim=-1)  # (B, H, T, kv_rank + rope_dim)
        q = q * (q.shape[-1] / (self.head_dim + self.rope_dim)) ** 0.5  # the scale is that of the unfolded width
        k = torch.cat((latent, k_rope), dim=-1).unsqueeze(1)
        y = softmax_attention(q, k, latent.unsqueeze(1), causal=True)
        return y @ w_v.mT
