"""Jamba: Mamba, attention and experts in one stack.

The one idea: one attention layer in eight is enough for recall, and without positions, since the Mamba layers know the
order; experts in every second layer add weights without adding work. Paper: Lieber et al. 2024 (arXiv:2403.19887).
"""

from dataclasses import dataclass
from typing import Self

from torch import nn

from nexus.core.base import BaseConfig, divides, in_range, positive
from nexus.layers.components import MoE, RMSNorm
from nexus.layers.ssm.mamba import Mamba
from nexus.models.hybrid._attention import CachedAttention
from nexus.models.hybrid._parts import GatedMLP
from nexus.models.hybrid._stack import HybridStack, Residual


@dataclass(frozen=True, kw_only=True)
class JambaConfig(BaseConfig):
    """Sizes; layer i is attention if ``i % attn_period == attn_offset``, has experts likewise."""

    vocab_size: int = 65_536
    d_model: int = 4_096
    n_layers: int = 32
    d_ff: int = 14_336
    n_heads: int = 32
    n_kv_heads: int = 8
    attn_period: int = 8
    attn_offset: int = 4
    n_experts: int = 16
    top_k: int = 2
    expert_period: int = 2
    expert_offset: int = 1
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    norm_eps: float = 1e-6
    tie_embeddings: bool = False

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes."""
        sizes = "vocab_size d_model n_layers d_ff n_heads n_kv_heads attn_period n_experts top_k expert_period d_state"
        found = positive(self, *sizes.split(), "d_conv", "expand", "norm_eps")
        found += [*divides(self, "n_kv_heads", "n_heads"), *divides(self, "n_heads", "d_model")]
        found += in_range(self, "attn_offset", 0, self.attn_period - 1)
        found += in_range(self, "expert_offset", 0, self.expert_period - 1)
        return found + in_range(self, "top_k", 1, self.n_experts)

    @property
    def layers(self) -> str:
        """The plan, one letter a layer: 'A' attention, 'M' Mamba."""
        return "".join("A" if i % self.attn_period == self.attn_offset else "M" for i in range(self.n_layers))

    @classmethod
    def tiny(cls) -> Self:
        """Four layers, one of them attention, two with experts."""
        return cls(
            vocab_size=97, d_model=32, n_layers=4, d_ff=48, n_heads=4, n_kv_heads=2, attn_period=4, attn_offset=2,
            n_experts=4, d_state=4,
        )  # fmt: skip


class Jamba(HybridStack):
    """The model; see :class:`nexus.models.hybrid._stack.HybridStack` for its calls."""

    config_class = JambaConfig
    config: JambaConfig

    def __init__(self, config: JambaConfig) -> None:
        super().__init__(config)
        c = self.config
        self._frame(c.vocab_size, c.d_model, c.tie_embeddings)
        self.layers = nn.ModuleList(self._layer(i, kind) for i, kind in enumerate(c.layers))
        self.norm = RMSNorm(c.d_model, c.norm_eps)

    def _layer(self, index: int, kind: str) -> Residual:
        c = self.config
        mixer: nn.Module = (
            CachedAttention(c.d_model, c.n_heads, c.n_kv_heads, c.d_model // c.n_heads)
            if kind == "A"
            else Mamba(c.d_model, c.d_state, c.d_conv, c.expand, inner_norms=True, eps=c.norm_eps)
        )
        has_experts = c.n_experts > 1 and index % c.expert_period == c.expert_offset
        ffn: nn.Module = (
            MoE(c.d_model, c.d_ff, c.n_experts, c.top_k, normalise=False)
            if has_experts
            else GatedMLP(c.d_model, c.d_ff)
        )
        return Residual(RMSNorm(c.d_model, c.norm_eps), mixer, RMSNorm(c.d_model, c.norm_eps), ffn)
