"""Samba: Mamba, a feed-forward part, attention over a sliding window, a feed-forward part, and again.

The one idea: Mamba carries what is far away, the window recalls exactly what is near, and since neither grows, a model
trained on 4k tokens goes on for a million. Paper: Ren et al. 2024 (arXiv:2406.07522), section 2.
"""

from dataclasses import dataclass
from typing import Self

from torch import nn

from nexus.core.base import BaseConfig, divides, fault, positive
from nexus.layers.components import RMSNorm
from nexus.layers.ssm.mamba import Mamba
from nexus.models.hybrid._attention import CachedAttention
from nexus.models.hybrid._parts import GatedMLP
from nexus.models.hybrid._stack import HybridStack, Residual


@dataclass(frozen=True, kw_only=True)
class SambaConfig(BaseConfig):
    """Sizes; ``plan`` is tiled over the layers: 'M' Mamba, 'A' sliding window, each with a feed-forward part."""

    vocab_size: int = 32_000
    d_model: int = 2_304
    n_layers: int = 24
    plan: str = "MA"
    d_ff: int = 6_144
    n_heads: int = 18
    n_kv_heads: int = 18
    window: int = 2_048
    rope_theta: float = 10_000.0
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    norm_eps: float = 1e-5
    tie_embeddings: bool = False

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes."""
        sizes = "vocab_size d_model n_layers d_ff n_heads n_kv_heads window rope_theta d_state d_conv expand norm_eps"
        found = positive(self, *sizes.split())
        found += [*divides(self, "n_kv_heads", "n_heads"), *divides(self, "n_heads", "d_model")]
        if not self.plan or set(self.plan) - set("MA"):
            found.append(fault("plan", self.plan, "has unknown layers", "use M (Mamba) and A (attention)"))
        return found

    @classmethod
    def tiny(cls) -> Self:
        """Two layers and a window of five."""
        return cls(vocab_size=97, d_model=32, n_layers=2, d_ff=48, n_heads=4, n_kv_heads=2, window=5, d_state=4)


class Samba(HybridStack):
    """The model; see :class:`nexus.models.hybrid._stack.HybridStack` for its calls."""

    config_class = SambaConfig
    config: SambaConfig

    def __init__(self, config: SambaConfig) -> None:
        super().__init__(config)
        c = self.config
        self._frame(c.vocab_size, c.d_model, c.tie_embeddings)
        self.layers = nn.ModuleList(self._layer(c.plan[i % len(c.plan)]) for i in range(c.n_layers))
        self.norm = RMSNorm(c.d_model, c.norm_eps)

    def _layer(self, kind: str) -> Residual:
        c = self.config
        mixer: nn.Module = (
            Mamba(c.d_model, c.d_state, c.d_conv, c.expand)
            if kind == "M"
            else CachedAttention(
                c.d_model, c.n_heads, c.n_kv_heads, c.d_model // c.n_heads, rope_theta=c.rope_theta, window=c.window
            )
        )
        norm, ffn_norm = (RMSNorm(c.d_model, c.norm_eps) for _ in range(2))
        return Residual(norm, mixer, ffn_norm, GatedMLP(c.d_model, c.d_ff))
