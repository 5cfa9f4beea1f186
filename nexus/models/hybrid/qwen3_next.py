"""Qwen3-Next: gated DeltaNet and gated attention, three to one, with many small experts.

The one idea: three layers that overwrite a memory (gated delta rule) for each layer of attention, whose output is gated
so that no token has to park its attention on the first one; ten of 512 experts and a shared one. Report: Qwen team
2025; gated attention: Qiu et al. 2025 (arXiv:2505.06708).
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from nexus.core.base import BaseConfig, divides, in_range, positive
from nexus.layers.components import MoE, RMSNorm
from nexus.layers.ssm.gated_delta_net import GatedDeltaNet
from nexus.models.hybrid._attention import AttentionCache, CachedAttention
from nexus.models.hybrid._parts import GatedMLP
from nexus.models.hybrid._stack import HybridStack, Residual


@dataclass(frozen=True, kw_only=True)
class Qwen3NextConfig(BaseConfig):
    """Sizes; every ``attn_period``-th layer is attention, the others gated DeltaNet."""

    vocab_size: int = 151_936
    d_model: int = 2_048
    n_layers: int = 48
    attn_period: int = 4
    n_heads: int = 16
    n_kv_heads: int = 2
    head_dim: int = 256
    rope_theta: float = 10_000_000.0
    rotary_fraction: float = 0.25
    delta_heads: int = 32
    delta_kv_heads: int = 16
    delta_key_dim: int = 128
    delta_value_dim: int = 128
    d_conv: int = 4
    n_experts: int = 512
    top_k: int = 10
    d_expert: int = 512
    d_shared: int = 512
    norm_eps: float = 1e-6
    tie_embeddings: bool = False

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes."""
        sizes = (
            "vocab_size d_model n_layers attn_period n_heads n_kv_heads head_dim rope_theta delta_heads delta_kv_heads "
            "delta_key_dim delta_value_dim d_conv n_experts top_k d_expert d_shared norm_eps"
        )
        found = positive(self, *sizes.split())
        found += [*divides(self, "n_kv_heads", "n_heads"), *divides(self, "delta_kv_heads", "delta_heads")]
        return [*found, *in_range(self, "rotary_fraction", 0, 1), *in_range(self, "top_k", 1, self.n_experts)]

    @classmethod
    def tiny(cls) -> Self:
        """Four layers, the last one attention."""
        return cls(
            vocab_size=97, d_model=32, n_layers=4, n_heads=4, n_kv_heads=2, head_dim=8, delta_heads=4,
            delta_kv_heads=2, delta_key_dim=6, delta_value_dim=8, n_experts=4, top_k=2, d_expert=16, d_shared=16,
        )  # fmt: skip


class GatedAttention(CachedAttention):
    """Attention with normed queries and keys, whose output is multiplied by a sigmoid of the input.

    ``q_proj`` gives, for each head, its query and its gate side by side.
    """

    def __init__(self, config: Qwen3NextConfig) -> None:
        c = config
        super().__init__(
            c.d_model, c.n_heads, c.n_kv_heads, c.head_dim, rope_theta=c.rope_theta, rotary_fraction=c.rotary_fraction
        )
        self.q_proj = nn.Linear(c.d_model, 2 * c.n_heads * c.head_dim, bias=False)
        self.q_norm, self.k_norm = (RMSNorm(c.head_dim, c.norm_eps, unit_offset=True) for _ in range(2))

    def forward(self, x: Tensor, state: AttentionCache | None = None) -> tuple[Tensor, AttentionCache | None]:
        """As :class:`CachedAttention`, with the gate before the output projection."""
        both = self.q_proj(x).unflatten(-1, (self.n_heads, 2 * self.head_dim))
        q, gate = both.split(self.head_dim, dim=-1)
        q, k = self.q_norm(q).transpose(1, 2), self.k_norm(self._heads(self.k_proj(x)))
        y, after = self.attend(q, k, self._heads(self.v_proj(x)), state)
        return self.o_proj(y * torch.sigmoid(gate.flatten(-2))), after


class SharedExperts(nn.Module):
    """Experts of which a token chooses some, and one that every token goes to, behind a gate."""

    def __init__(self, config: Qwen3NextConfig) -> None:
        super().__init__()
        c = config
        self.experts = MoE(c.d_model, c.d_expert, c.n_experts, c.top_k)
        self.shared = GatedMLP(c.d_model, c.d_shared)
        self.shared_gate = nn.Linear(c.d_model, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d_model) in and out."""
        return self.experts(x) + torch.sigmoid(self.shared_gate(x)) * self.shared(x)


class Qwen3Next(HybridStack):
    """The model; see :class:`nexus.models.hybrid._stack.HybridStack` for its calls."""

    config_class = Qwen3NextConfig
    config: Qwen3NextConfig

    def __init__(self, config: Qwen3NextConfig) -> None:
        super().__init__(config)
        c = self.config
        self._frame(c.vocab_size, c.d_model, c.tie_embeddings)
        self.layers = nn.ModuleList(self._layer(attends=(i + 1) % c.attn_period == 0) for i in range(c.n_layers))
        self.norm = RMSNorm(c.d_model, c.norm_eps, unit_offset=True)

    def _layer(self, attends: bool) -> Residual:
        c = self.config
        mixer: nn.Module = (
            GatedAttention(c)
            if attends
            else GatedDeltaNet(
                c.d_model, c.delta_heads, c.delta_key_dim, c.delta_value_dim, c.delta_kv_heads, d_conv=c.d_conv,
                eps=c.norm_eps,
            )
        )  # fmt: skip
        norm, ffn_norm = (RMSNorm(c.d_model, c.norm_eps, unit_offset=True) for _ in range(2))
        return Residual(norm, mixer, ffn_norm, SharedExperts(c))
