"""Zamba2: Mamba-2 layers and a transformer block that all of them share.

The one idea: attention's weights need to be paid for only once: one block (or two, in turn) is used again at several
depths, told apart by small adapters of low rank; it reads the layer's input beside the embeddings themselves. Paper:
Glorioso et al. 2024 (arXiv:2411.15242), section 2.
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
from nexus.models.hybrid._stack import HybridStack, State


@dataclass(frozen=True, kw_only=True)
class Zamba2Config(BaseConfig):
    """Sizes; ``plan`` has one letter a layer: 'M' Mamba-2, 'S' a shared block in front of it.

    ``n_shared``: shared blocks, used in turn. ``adapter_rank``: of the adapters on the feed-forward part, and with
    ``adapt_attention`` on queries, keys and values too.
    """

    vocab_size: int = 32_000
    d_model: int = 2_560
    plan: str = "MMMMMSMMMMMSMMMMMSMMMMMSMMMMMSMMMMMSMMMMMSMMMMMSMMMMMS"
    d_ff: int = 10_240
    n_heads: int = 32
    n_kv_heads: int = 32
    n_shared: int = 1
    adapter_rank: int = 128
    adapt_attention: bool = False
    rope_theta: float = 0.0  # 0: no positions
    ssm_heads: int = 80
    ssm_groups: int = 1
    d_state: int = 64
    d_conv: int = 4
    expand: int = 2
    chunk_size: int = 64
    dt_min: float = 1e-3
    norm_eps: float = 1e-5
    tie_embeddings: bool = True

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes."""
        sizes = "vocab_size d_model d_ff n_heads n_kv_heads n_shared adapter_rank ssm_heads ssm_groups d_state d_conv"
        found = positive(self, *sizes.split(), "expand", "chunk_size", "norm_eps")
        found += [*divides(self, "n_kv_heads", "n_heads"), *divides(self, "n_heads", "d_model")]
        if not self.plan or set(self.plan) - set("MS"):
            found.append(fault("plan", self.plan, "has unknown layers", "use M (Mamba-2) and S (shared block first)"))
        return found + divides(self, "ssm_groups", "ssm_heads")

    @classmethod
    def tiny(cls) -> Self:
        """Five layers; two shared blocks, the first of them used twice."""
        return cls(
            vocab_size=97, d_model=32, plan="MSSMS", d_ff=48, n_heads=4, n_kv_heads=4, n_shared=2, adapter_rank=4,
            adapt_attention=True, rope_theta=10_000.0, ssm_heads=4, ssm_groups=2, d_state=8, chunk_size=8,
        )  # fmt: skip


class Adapter(nn.Sequential):
    """A linear map of low rank."""

    def __init__(self, d_in: int, rank: int, d_out: int) -> None:
        super().__init__(nn.Linear(d_in, rank, bias=False), nn.Linear(rank, d_out, bias=False))


class SharedBlock(nn.Module):
    """Attention and feed-forward of width 2 d_model in, d_model out; no residual inside.

    Args:
        uses: how many layers share it; each has adapters of its own.
    """

    def __init__(self, config: Zamba2Config, uses: int) -> None:
        super().__init__()
        c = config
        wide, head_dim = 2 * c.d_model, 2 * c.d_model // c.n_heads
        self.norm, self.ffn_norm = RMSNorm(wide, c.norm_eps), RMSNorm(c.d_model, c.norm_eps)
        self.attention = CachedAttention(
            wide, c.n_heads, c.n_kv_heads, head_dim, c.d_model, c.rope_theta or None, scale=(head_dim / 2) ** -0.5
        )
        self.gate_up = nn.Linear(c.d_model, 2 * c.d_ff, bias=False)
        self.down = nn.Linear(c.d_ff, c.d_model, bias=False)
        self.ffn_adapters = nn.ModuleList(Adapter(c.d_model, c.adapter_rank, 2 * c.d_ff) for _ in range(uses))
        outs = [proj.out_features for proj in (self.attention.q_proj, self.attention.k_proj, self.attention.v_proj)]
        self.qkv_adapters = nn.ModuleList(
            nn.ModuleList(Adapter(wide, c.adapter_rank, out) for out in outs)
            for _ in range(uses if c.adapt_attention else 0)
        )

    def forward(
        self, x: Tensor, embedded: Tensor, use: int, state: AttentionCache | None
    ) -> tuple[Tensor, AttentionCache | None]:
        """``x`` and the embeddings (B, T, d_model) to what is added to the Mamba layer's input."""
        both = self.norm(torch.cat((x, embedded), dim=-1))
        q, k, v = self.attention.project(both)
        if self.qkv_adapters:
            adapters = self.qkv_adapters[use]
            assert isinstance(adapters, nn.ModuleList)
            q, k, v = (
                t + adapter(both).unflatten(-1, (-1, self.attention.head_dim)).transpose(1, 2)
                for t, adapter in zip((q, k, v), adapters, strict=True)
            )
        y, state = self.attention.attend(q, k, v, state)
        inner = self.ffn_norm(self.attention.o_proj(y))
        gate, up = (self.gate_up(inner) + self.ffn_adapters[use](inner)).chunk(2, dim=-1)
        return self.down(F.gelu(gate) * up), state


class ZambaState(NamedTuple):
    """State of a layer; ``attention`` is None where it has no shared block."""

    mamba: Mamba2State
    attention: AttentionCache | None


class ZambaLayer(nn.Module):
    """``x + mamba(norm(x + W shared(x, embedded)))``; without a shared block the plain residual layer."""

    def __init__(self, config: Zamba2Config, kind: str) -> None:
        super().__init__()
        c = config
        self.norm = RMSNorm(c.d_model, c.norm_eps)
        self.mamba = Mamba2(
            c.d_model, c.ssm_heads, c.expand * c.d_model // c.ssm_heads, c.d_state, c.ssm_groups, c.d_conv,
            c.chunk_size, eps=c.norm_eps, dt_min=c.dt_min,
        )  # fmt: skip
        self.shared_proj = nn.Linear(c.d_model, c.d_model, bias=False) if kind == "S" else None

    def forward(self, x: Tensor, added: Tensor | None, state: Mamba2State | None) -> tuple[Tensor, Mamba2State | None]:
        """(B, T, d_model) in and out; ``added`` is what the shared block gave."""
        inner = x if added is None or self.shared_proj is None else x + self.shared_proj(added)
        y, state = self.mamba(self.norm(inner), state)
        return x + y, state


class Zamba2(HybridStack):
    """The model; see :class:`nexus.models.hybrid._stack.HybridStack` for its calls."""

    config_class = Zamba2Config
    config: Zamba2Config

    def __init__(self, config: Zamba2Config) -> None:
        super().__init__(config)
        c = self.config
        self._frame(c.vocab_size, c.d_model, c.tie_embeddings)
        self.layers = nn.ModuleList(ZambaLayer(c, kind) for kind in c.plan)
        uses = c.plan.count("S")
        self.shared = nn.ModuleList(
            SharedBlock(c, len(range(i, uses, c.n_shared))) for i in range(min(c.n_shared, uses))
        )
        self.norm = RMSNorm(c.d_model, c.norm_eps)

    def init_state(self, batch_size: int) -> State:
        """The state before the first token; each use of a shared block has a cache of its own."""
        use = 0
        states: list[ZambaState] = []
        for layer, kind in zip(self.layers, self.config.plan, strict=True):
            assert isinstance(layer, ZambaLayer)
            cache = None
            if kind == "S":
                block = self.shared[use % len(self.shared)]
                assert isinstance(block, SharedBlock)
                cache, use = block.attention.init_state(batch_size), use + 1
            states.append(ZambaState(layer.mamba.init_state(batch_size), cache))
        return tuple(states)

    def run(self, x: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        """Through all layers, with the shared blocks in turn."""
        embedded, use = x, 0
        after: list[ZambaState] = []
        for i, (layer, kind) in enumerate(zip(self.layers, self.config.plan, strict=True)):
            before: ZambaState | None = None if state is None else state[i]
            added: Tensor | None = None
            cache: AttentionCache | None = None
            if kind == "S":
                turn, which = divmod(use, len(self.shared))
                added, cache = self.shared[which](x, embedded, turn, before and before.attention)
                use += 1
            x, mamba = layer(x, added, before and before.mamba)
            after.append(ZambaState(mamba, cache))
        return x, None if state is None else tuple(after)
