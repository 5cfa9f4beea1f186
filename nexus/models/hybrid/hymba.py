"""Hymba: attention heads and state-space heads in one layer, behind learnt tokens.

The one idea: both kinds of head read the same input; their outputs, normed and weighted, are averaged and share one
output projection. A few learnt tokens in front of every text take up what would otherwise weigh on its first words, and
neighbouring layers share keys and values. Paper: Dong et al. 2024 (arXiv:2411.13676), sections 2.1 to 2.3.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from nexus.core.base import BaseConfig, divides, fault, in_range, positive
from nexus.layers.components import RMSNorm
from nexus.layers.ssm.mamba import Mamba, MambaState
from nexus.models.hybrid._attention import AttentionCache, CachedAttention
from nexus.models.hybrid._parts import GatedMLP
from nexus.models.hybrid._stack import HybridOutput, HybridStack, State


@dataclass(frozen=True, kw_only=True)
class HymbaConfig(BaseConfig):
    """Sizes; ``plan`` has one letter a layer: 'G' sees everything, 'L' a window, 'l' that with the last layer's keys.

    ``meta_tokens`` learnt tokens stand in front of every text and stay visible to all windows.
    """

    vocab_size: int = 32_001
    d_model: int = 1_600
    plan: str = "GLlLlLlLlLlLlLlGLlLlLlLlLlLlLlLG"
    d_ff: int = 5_504
    n_heads: int = 25
    n_kv_heads: int = 5
    head_dim: int = 128
    window: int = 1_024
    meta_tokens: int = 128
    rope_theta: float = 10_000.0
    d_state: int = 16
    d_conv: int = 4
    norm_eps: float = 1e-6
    tie_embeddings: bool = True

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes."""
        sizes = "vocab_size d_model d_ff n_heads n_kv_heads head_dim window rope_theta d_state d_conv norm_eps"
        found = [*positive(self, *sizes.split()), *divides(self, "n_kv_heads", "n_heads")]
        found += in_range(self, "meta_tokens", 0)
        if (self.n_heads * self.head_dim) % self.d_model:
            cure = "make it a multiple of d_model: the state-space heads have the same width"
            found.append(fault("head_dim", self.head_dim, f"gives {self.n_heads * self.head_dim} channels", cure))
        if not self.plan or set(self.plan) - set("GLl") or "l" in self.plan[:1] or "Gl" in self.plan:
            found.append(fault("plan", self.plan, "is not understood", "use G, L and l, an l behind an L or another l"))
        return found

    @classmethod
    def tiny(cls) -> Self:
        """Four layers, one of which uses its neighbour's keys; two learnt tokens."""
        return cls(
            vocab_size=97, d_model=32, plan="GLlG", d_ff=48, n_heads=4, n_kv_heads=2, head_dim=16, window=5,
            meta_tokens=2, d_state=4,
        )  # fmt: skip


class HymbaState(NamedTuple):
    """State of a layer; ``attention`` is None where the keys are the last layer's."""

    mamba: MambaState
    attention: AttentionCache | None


class Shared(NamedTuple):
    """Keys and values that a layer hands to its neighbour, turned and with the cache in front, and where they begin."""

    key: Tensor
    value: Tensor
    start: int


class HybridHeads(nn.Module):
    """``W (b1 norm(attention(x)) + b2 norm(mamba(x))) / 2`` (eq. 3), (B, T, d_model) in and out."""

    def __init__(self, config: HymbaConfig, kind: str) -> None:
        super().__init__()
        c = config
        inner = c.n_heads * c.head_dim
        self.borrows = kind == "l"
        self.attention = CachedAttention(
            c.d_model, c.n_heads, c.n_kv_heads, c.head_dim, rope_theta=c.rope_theta,
            window=0 if kind == "G" else c.window, sinks=c.meta_tokens, project_out=False,
        )  # fmt: skip
        if self.borrows:
            del self.attention.k_proj, self.attention.v_proj
        self.mamba = Mamba(c.d_model, c.d_state, c.d_conv, inner // c.d_model)
        self.mamba.out_proj = nn.Identity()  # type: ignore[assignment]
        self.attention_norm, self.mamba_norm = (RMSNorm(inner, c.norm_eps) for _ in range(2))
        self.attention_scale, self.mamba_scale = (nn.Parameter(torch.ones(inner)) for _ in range(2))
        self.out_proj = nn.Linear(inner, c.d_model, bias=False)

    def init_state(self, batch_size: int) -> HymbaState:
        """Both kinds of heads' states."""
        cache = None if self.borrows else self.attention.init_state(batch_size)
        return HymbaState(self.mamba.init_state(batch_size), cache)

    def forward(
        self, x: Tensor, state: HymbaState | None, shared: Shared | None
    ) -> tuple[Tensor, HymbaState | None, Shared]:
        """Returns the output, the state, and the keys and values for the layer behind."""
        recurrent, mamba = self.mamba(x, None if state is None else state.mamba)
        attention = self.attention
        q = attention._heads(attention.q_proj(x))
        if self.borrows:
            assert shared is not None
            cache = None
        else:
            shared, cache = self._keys(x, None if state is None else state.attention)
        attended = attention.look(attention.turn(q, shared.start), shared.key, shared.value, shared.start)
        mixed = self.attention_scale * self.attention_norm(attended) + self.mamba_scale * self.mamba_norm(recurrent)
        return self.out_proj(mixed / 2), None if state is None else HymbaState(mamba, cache), shared

    def _keys(self, x: Tensor, cache: AttentionCache | None) -> tuple[Shared, AttentionCache | None]:
        attention, start = self.attention, 0 if cache is None else cache.position
        k, v = (attention._heads(proj(x)) for proj in (attention.k_proj, attention.v_proj))
        k = attention.turn(k, start)
        if cache is None:
            return Shared(k, v, start), None
        k, v = torch.cat((cache.key, k), dim=2), torch.cat((cache.value, v), dim=2)
        return Shared(k, v, start), attention._kept(k, v, start + x.shape[1])


class HymbaLayer(nn.Module):
    """``x + heads(norm(x))``, then ``x + mlp(norm(x))``."""

    def __init__(self, config: HymbaConfig, kind: str) -> None:
        super().__init__()
        c = config
        self.norm, self.ffn_norm = (RMSNorm(c.d_model, c.norm_eps) for _ in range(2))
        self.mixer, self.ffn = HybridHeads(c, kind), GatedMLP(c.d_model, c.d_ff)

    def init_state(self, batch_size: int) -> HymbaState:
        """The mixer's state."""
        return self.mixer.init_state(batch_size)

    def forward(
        self, x: Tensor, state: HymbaState | None, shared: Shared | None
    ) -> tuple[Tensor, HymbaState | None, Shared]:
        """(B, T, d_model) in and out."""
        y, state, shared = self.mixer(self.norm(x), state, shared)
        x = x + y
        return x + self.ffn(self.ffn_norm(x)), state, shared


class Hymba(HybridStack):
    """The model; see :class:`nexus.models.hybrid._stack.HybridStack` for its calls."""

    config_class = HymbaConfig
    config: HymbaConfig

    def __init__(self, config: HymbaConfig) -> None:
        super().__init__(config)
        c = self.config
        self._frame(c.vocab_size, c.d_model, c.tie_embeddings)
        self.meta = nn.Parameter(torch.randn(c.meta_tokens, c.d_model) * 0.02)
        self.layers = nn.ModuleList(HymbaLayer(c, kind) for kind in c.plan)
        self.norm = RMSNorm(c.d_model, c.norm_eps)

    def init_state(self, batch_size: int) -> State:
        """The state before the first token of the text: the learnt tokens have been read."""
        state = super().init_state(batch_size)
        if not len(self.meta):
            return state
        after = self.run(self.meta.expand(batch_size, -1, -1), state)[1]
        assert after is not None
        return after

    def forward(self, input_ids: Tensor, state: State | None = None) -> HybridOutput:
        """As :class:`HybridStack`; without a state the learnt tokens are put in front of the text and cut off again."""
        if state is not None:
            return super().forward(input_ids, state)
        out = super().forward(input_ids, self.init_state(input_ids.shape[0]))
        return out._replace(state=None)

    def run(self, x: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        """Through all layers, keys and values passed on."""
        shared: Shared | None = None
        after: list[HymbaState] = []
        for i, layer in enumerate(self.layers):
            x, own, shared = layer(x, None if state is None else state[i], shared)
            after.append(own)
        return x, None if state is None else tuple(after)
