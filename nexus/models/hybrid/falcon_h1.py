"""Falcon-H1: attention and Mamba-2 side by side in every layer.

The one idea: both mixers read the same normed input and their outputs are added, so that the share of attention is a
width and not a number of layers; fixed multipliers on the paths take the place of tuned learning rates. Paper: Zuo et
al. 2025 (arXiv:2507.22448), section 2.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.base import BaseConfig, divides, fault, positive
from nexus.layers.components import RMSNorm
from nexus.layers.ssm.mamba2 import Mamba2, Mamba2State
from nexus.models.hybrid._attention import AttentionCache, CachedAttention
from nexus.models.hybrid._stack import HybridStack


@dataclass(frozen=True, kw_only=True)
class FalconH1Config(BaseConfig):
    """Sizes and multipliers. ``ssm_norm``: Mamba-2's gated norm, or the plain gate ``y silu(z)``.

    ``ssm_multipliers``: of z, x, B, C and dt. ``mlp_multipliers``: of the gate and of the output.
    """

    vocab_size: int = 128_000
    d_model: int = 4_096
    n_layers: int = 32
    d_ff: int = 14_336
    n_heads: int = 32
    n_kv_heads: int = 8
    head_dim: int = 128
    rope_theta: float = 100_000.0
    ssm_heads: int = 128
    ssm_head_dim: int = 64
    ssm_groups: int = 1
    d_state: int = 256
    d_conv: int = 4
    chunk_size: int = 64
    ssm_norm: bool = False
    embedding_multiplier: float = 1.0
    logit_multiplier: float = 1.0
    key_multiplier: float = 1.0
    attention_in_multiplier: float = 1.0
    attention_out_multiplier: float = 1.0
    ssm_in_multiplier: float = 1.0
    ssm_out_multiplier: float = 1.0
    ssm_multipliers: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)
    mlp_multipliers: tuple[float, ...] = (1.0, 1.0)
    norm_eps: float = 1e-5
    tie_embeddings: bool = False

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes."""
        sizes = "vocab_size d_model n_layers d_ff n_heads n_kv_heads head_dim ssm_heads ssm_head_dim ssm_groups d_state"
        found = positive(self, *sizes.split(), "d_conv", "chunk_size", "rope_theta", "norm_eps")
        found += [*divides(self, "n_kv_heads", "n_heads"), *divides(self, "ssm_groups", "ssm_heads")]
        for name, count in (("ssm_multipliers", 5), ("mlp_multipliers", 2)):
            if len(getattr(self, name)) != count:
                found.append(fault(name, getattr(self, name), "has the wrong length", f"give {count} numbers"))
        return found

    @classmethod
    def tiny(cls) -> Self:
        """Two layers, with multipliers that are not 1."""
        return cls(
            vocab_size=97, d_model=32, n_layers=2, d_ff=48, n_heads=4, n_kv_heads=2, head_dim=8, ssm_heads=4,
            ssm_head_dim=16, d_state=8, chunk_size=8, embedding_multiplier=2.0, logit_multiplier=0.5,
            key_multiplier=0.7, attention_in_multiplier=1.2, attention_out_multiplier=0.8, ssm_in_multiplier=1.1,
            ssm_out_multiplier=0.9, ssm_multipliers=(0.7, 0.8, 0.9, 1.1, 1.2), mlp_multipliers=(0.6, 1.3),
        )  # fmt: skip


class ScaledLinear(nn.Linear):
    """``scale * W (factor x)``: fixed multipliers of the input and of each output channel."""

    scale: Tensor

    def __init__(self, d_in: int, scale: Tensor, factor: float) -> None:
        super().__init__(d_in, len(scale), bias=False)
        self.factor = factor
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply, project, multiply."""
        return self.scale * super().forward(self.factor * x)


class PlainGate(nn.Module):
    """``y silu(z)`` in the place of Mamba-2's gated norm."""

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """Gate ``y`` by ``z``."""
        return y * F.silu(z)


class ScaledMLP(nn.Module):
    """SwiGLU with a multiplier inside the gate and one on the output."""

    def __init__(self, d_model: int, d_ff: int, multipliers: tuple[float, ...]) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(d_model, d_ff, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(d_ff, d_model, bias=False)
        self.gate_multiplier, self.out_multiplier = multipliers

    def forward(self, x: Tensor) -> Tensor:
        """Mix channels."""
        gate = F.silu(self.gate_proj(x) * self.gate_multiplier)
        return self.down_proj(gate * self.up_proj(x)) * self.out_multiplier


class ScaledAttention(CachedAttention):
    """Attention whose keys are multiplied by a constant."""

    key_multiplier = 1.0

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, scaled keys, values."""
        q, k, v = super().project(x)
        return q, k * self.key_multiplier, v


class ParallelState(NamedTuple):
    """States of the two mixers of a layer."""

    mamba: Mamba2State
    attention: AttentionCache


class ParallelLayer(nn.Module):
    """``x + a attention(b n) + c mamba(d n)`` with ``n = norm(x)``, then ``x + mlp(norm(x))``."""

    def __init__(self, config: FalconH1Config) -> None:
        super().__init__()
        c = self.config = config
        self.norm, self.ffn_norm = (RMSNorm(c.d_model, c.norm_eps) for _ in range(2))
        self.attention = ScaledAttention(c.d_model, c.n_heads, c.n_kv_heads, c.head_dim, rope_theta=c.rope_theta)
        self.attention.key_multiplier = c.key_multiplier
        self.mamba = Mamba2(
            c.d_model, c.ssm_heads, c.ssm_head_dim, c.d_state, c.ssm_groups, c.d_conv, c.chunk_size, eps=c.norm_eps
        )
        inner, states = self.mamba.d_inner, c.ssm_groups * c.d_state
        counts = torch.tensor([inner, inner, states, states, c.ssm_heads])
        scale = torch.tensor(c.ssm_multipliers).repeat_interleave(counts)
        self.mamba.in_proj = ScaledLinear(c.d_model, scale, c.ssm_in_multiplier)
        if not c.ssm_norm:
            self.mamba.norm = PlainGate()  # type: ignore[assignment]
        self.ffn = ScaledMLP(c.d_model, c.d_ff, c.mlp_multipliers)

    def init_state(self, batch_size: int) -> ParallelState:
        """Both mixers' states."""
        return ParallelState(self.mamba.init_state(batch_size), self.attention.init_state(batch_size))

    def forward(self, x: Tensor, state: ParallelState | None = None) -> tuple[Tensor, ParallelState | None]:
        """(B, T, d_model) in and out."""
        c, normed = self.config, self.norm(x)
        recurrent, mamba = self.mamba(normed, None if state is None else state.mamba)
        attended, cache = self.attention(normed * c.attention_in_multiplier, None if state is None else state.attention)
        x = x + recurrent * c.ssm_out_multiplier + attended * c.attention_out_multiplier
        x = x + self.ffn(self.ffn_norm(x))
        return x, None if state is None else ParallelState(mamba, cache)


class FalconH1(HybridStack):
    """The model; see :class:`nexus.models.hybrid._stack.HybridStack` for its calls."""

    config_class = FalconH1Config
    config: FalconH1Config

    def __init__(self, config: FalconH1Config) -> None:
        super().__init__(config)
        c = self.config
        self._frame(c.vocab_size, c.d_model, c.tie_embeddings)
        self.layers = nn.ModuleList(ParallelLayer(c) for _ in range(c.n_layers))
        self.norm = RMSNorm(c.d_model, c.norm_eps)

    def enter(self, x: Tensor) -> Tensor:
        """Embeddings times their multiplier."""
        return x * self.config.embedding_multiplier

    def leave(self, logits: Tensor) -> Tensor:
        """Logits times theirs."""
        return logits * self.config.logit_multiplier
