"""Griffin: gated linear recurrences and local attention.

The one idea: two recurrent blocks (convolution, RG-LRU, gate) for each block of attention over a short window; nothing
grows with the text, and the window supplies the exact recall of what is near. Paper: De et al. 2024 (arXiv:2402.19427),
section 2; sizes and details as in RecurrentGemma (arXiv:2404.07839).
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.base import BaseConfig, divides, fault, positive
from nexus.layers.components import RMSNorm
from nexus.layers.components.gelu import KERNELS
from nexus.layers.ssm.rg_lru import RGLRU, RGLRUState
from nexus.models.hybrid._attention import CachedAttention
from nexus.models.hybrid._parts import GatedMLP
from nexus.models.hybrid._stack import HybridStack, Residual

gelu_tanh = KERNELS["gelu_tanh"]  # as in Gemma


@dataclass(frozen=True, kw_only=True)
class GriffinConfig(BaseConfig):
    """Sizes; ``plan`` is tiled over the layers: 'R' recurrent, 'A' local attention. Hawk is plan "R".

    ``embed_scale``: embeddings times sqrt(d_model), or that number rounded to bfloat16, as RecurrentGemma stores it.
    """

    vocab_size: int = 256_000
    d_model: int = 2_560
    n_layers: int = 26
    plan: str = "RRA"
    d_ff: int = 7_680
    d_rnn: int = 2_560
    n_heads: int = 10
    n_kv_heads: int = 1
    window: int = 2_048
    d_conv: int = 4
    rope_theta: float = 10_000.0
    rotary_fraction: float = 0.5
    logit_cap: float = 30.0
    embed_scale: Literal["exact", "bfloat16"] = "exact"
    norm_eps: float = 1e-6
    tie_embeddings: bool = True

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes."""
        sizes = "vocab_size d_model n_layers d_ff d_rnn n_heads n_kv_heads window d_conv rope_theta logit_cap norm_eps"
        found = positive(self, *sizes.split())
        found += [*divides(self, "n_heads", "d_model"), *divides(self, "n_heads", "d_rnn")]
        if not self.plan or set(self.plan) - set("RA"):
            found.append(fault("plan", self.plan, "has unknown layer kinds", "use R (recurrent) and A (attention)"))
        return found + divides(self, "n_kv_heads", "n_heads")

    @classmethod
    def tiny(cls) -> Self:
        """Three layers, one of them attention over five tokens."""
        return cls(vocab_size=97, d_model=32, n_layers=3, d_ff=48, d_rnn=32, n_heads=2, window=5)


class RecurrentState(NamedTuple):
    """What a recurrent block carries over."""

    rnn: RGLRUState
    conv: Tensor  # (B, d_conv - 1, d_rnn)


class RecurrentBlock(nn.Module):
    """``W_out (gelu(W_y x) * RG-LRU(conv(W_x x)))`` (section 2.3), (B, T, d_model) in and out."""

    def __init__(self, d_model: int, d_rnn: int, blocks: int, d_conv: int) -> None:
        super().__init__()
        self.d_conv = d_conv
        self.gate_proj, self.in_proj = (nn.Linear(d_model, d_rnn) for _ in range(2))
        self.conv_weight = nn.Parameter(torch.empty(d_rnn, d_conv).uniform_(-(d_conv**-0.5), d_conv**-0.5))
        self.conv_bias = nn.Parameter(torch.zeros(d_rnn))
        self.rnn = RGLRU(d_rnn, blocks)
        self.out_proj = nn.Linear(d_rnn, d_model)

    def init_state(self, batch_size: int) -> RecurrentState:
        """The zero state for ``batch_size`` rows."""
        conv = self.conv_weight.new_zeros(batch_size, self.d_conv - 1, len(self.conv_weight))
        return RecurrentState(self.rnn.init_state(batch_size), conv)

    def forward(self, x: Tensor, state: RecurrentState | None = None) -> tuple[Tensor, RecurrentState | None]:
        """Without a state it starts from zero and returns none."""
        before = self.init_state(x.shape[0]) if state is None else state
        padded = torch.cat((before.conv, self.in_proj(x)), dim=1)
        mixed = F.conv1d(padded.mT, self.conv_weight.unsqueeze(1), self.conv_bias, groups=len(self.conv_bias)).mT
        h, rnn = self.rnn(mixed, before.rnn)
        y = self.out_proj(gelu_tanh(self.gate_proj(x)) * h)
        return y, None if state is None else RecurrentState(rnn, padded[:, x.shape[1] :])


class Griffin(HybridStack):
    """The model; see :class:`nexus.models.hybrid._stack.HybridStack` for its calls."""

    config_class = GriffinConfig
    config: GriffinConfig

    def __init__(self, config: GriffinConfig) -> None:
        super().__init__(config)
        c = self.config
        self._frame(c.vocab_size, c.d_model, c.tie_embeddings)
        self.layers = nn.ModuleList(self._layer(c.plan[i % len(c.plan)]) for i in range(c.n_layers))
        self.norm = RMSNorm(c.d_model, c.norm_eps, unit_offset=True)

    def _layer(self, kind: str) -> Residual:
        c = self.config
        mixer: nn.Module = (
            RecurrentBlock(c.d_model, c.d_rnn, c.n_heads, c.d_conv)
            if kind == "R"
            else CachedAttention(
                c.d_model, c.n_heads, c.n_kv_heads, c.d_model // c.n_heads, rope_theta=c.rope_theta,
                rotary_fraction=c.rotary_fraction, window=c.window, out_bias=True,
            )
        )  # fmt: skip
        norm, ffn_norm = (RMSNorm(c.d_model, c.norm_eps, unit_offset=True) for _ in range(2))
        return Residual(norm, mixer, ffn_norm, GatedMLP(c.d_model, c.d_ff // 2, gelu_tanh, bias=True))

    def enter(self, x: Tensor) -> Tensor:
        """Embeddings are scaled by sqrt(d_model)."""
        scale = math.sqrt(self.config.d_model)
        return x * (float(torch.tensor(scale).bfloat16()) if self.config.embed_scale == "bfloat16" else scale)

    def leave(self, logits: Tensor) -> Tensor:
        """Logits are bent so that they stay below the cap."""
        return torch.tanh(logits / self.config.logit_cap) * self.config.logit_cap
