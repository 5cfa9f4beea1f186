"""Hymba: against its parts, written out over the whole text with transformers' Mamba mixer, norms and rotary embedding."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from nexus.zoo.parity import Renaming, compare_lm, randomise
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-5

NAMES = Renaming(
    (
        (".mixer.attention.", "."),
        (".mixer.mamba.conv_", ".mamba.conv1d."),
        (".mixer.", "."),
        (".ffn.", ".mlp."),
    ),
    ignored=("mamba.out_proj",),
)
ATTENTION = "nexus/models/hybrid/_attention.py"

MUTATIONS = (
    Mutation("outputs added, not averaged", "self.out_proj(mixed / 2)", "self.out_proj(mixed)"),
    Mutation("state-space heads not normed", "self.mamba_norm(recurrent)", "(recurrent + 0 * self.mamba_norm(recurrent))"),
    Mutation("learnt tokens forgotten", "after = self.run(self.meta.expand(batch_size, -1, -1), state)[1]", "after = self.run(0 * self.meta.expand(batch_size, -1, -1), state)[1]"),
    Mutation("learnt tokens fall out of the window", "sinks=c.meta_tokens", "sinks=0"),
    Mutation("keys passed on before they are turned", "return Shared(k, v, start), attention._kept", "return Shared(attention.turn(k, 1), v, start), attention._kept"),
    Mutation("window one too wide", "known > at - self.window", "known >= at - self.window", ATTENTION),
    Mutation("weights of the two kinds swapped", "self.attention_scale * self.attention_norm(attended) + self.mamba_scale *", "self.mamba_scale * self.attention_norm(attended) + self.attention_scale *"),
)  # fmt: skip


class _Layer(nn.Module):
    def __init__(self, c: Any, kind: str) -> None:
        super().__init__()
        from transformers import LlamaConfig, MambaConfig
        from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm
        from transformers.models.mamba.modeling_mamba import MambaMixer

        self.c, self.kind = c, kind
        inner = c.n_heads * c.head_dim
        self.q_proj = nn.Linear(c.d_model, inner, bias=False)
        if kind != "l":
            self.k_proj, self.v_proj = (nn.Linear(c.d_model, c.n_kv_heads * c.head_dim, bias=False) for _ in range(2))
        expand = inner // c.d_model
        self.mamba = MambaMixer(
            MambaConfig(
                hidden_size=c.d_model, state_size=c.d_state, num_hidden_layers=1, expand=expand, use_mambapy=False
            ), 0,
        )  # fmt: skip
        self.mamba.out_proj = nn.Linear(inner, inner, bias=False).requires_grad_(False)  # made the identity below
        self.norm, self.ffn_norm = (LlamaRMSNorm(c.d_model, c.norm_eps) for _ in range(2))
        self.attention_norm, self.mamba_norm = (LlamaRMSNorm(inner, c.norm_eps) for _ in range(2))
        self.attention_scale, self.mamba_scale = (nn.Parameter(torch.ones(inner)) for _ in range(2))
        self.out_proj = nn.Linear(inner, c.d_model, bias=False)
        self.mlp = LlamaMLP(LlamaConfig(hidden_size=c.d_model, intermediate_size=c.d_ff))

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor], shared: Any) -> tuple[Tensor, Any]:
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        normed = self.norm(x)
        q = self.q_proj(normed).unflatten(-1, (self.c.n_heads, -1)).transpose(1, 2)
        if self.kind != "l":
            shared = [
                p(normed).unflatten(-1, (self.c.n_kv_heads, -1)).transpose(1, 2) for p in (self.k_proj, self.v_proj)
            ]
        k, v = (t.repeat_interleave(self.c.n_heads // self.c.n_kv_heads, dim=1) for t in shared)
        q, k = apply_rotary_pos_emb(q, k, *angles)
        scores = (q @ k.mT * self.c.head_dim**-0.5).masked_fill(~self._seen(x.shape[1]), float("-inf"))
        attended = self.attention_norm((scores.softmax(-1) @ v).transpose(1, 2).flatten(-2))
        recurrent = self.mamba_norm(self.mamba(normed))
        x = x + self.out_proj((self.attention_scale * attended + self.mamba_scale * recurrent) / 2)
        return x + self.mlp(self.ffn_norm(x)), shared

    def _seen(self, length: int) -> Tensor:
        at = torch.arange(length)
        gap = at[:, None] - at
        near = (gap < self.c.window) | (at < self.c.meta_tokens) if self.kind != "G" else gap >= 0
        return (gap >= 0) & near


class _Theirs(nn.Module):
    def __init__(self, c: Any) -> None:
        super().__init__()
        from transformers import LlamaConfig
        from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding

        self.embed, self.norm = nn.Embedding(c.vocab_size, c.d_model), LlamaRMSNorm(c.d_model, c.norm_eps)
        self.meta = nn.Parameter(torch.randn(c.meta_tokens, c.d_model))
        self.layers = nn.ModuleList(_Layer(c, kind) for kind in c.plan)
        config = LlamaConfig(
            hidden_size=c.d_model, num_attention_heads=c.n_heads, head_dim=c.head_dim, rope_theta=c.rope_theta
        )
        self.rotary = LlamaRotaryEmbedding(config)

    def forward(self, ids: Tensor, use_cache: bool = False) -> SimpleNamespace:
        x = torch.cat((self.meta.expand(len(ids), -1, -1), self.embed(ids)), dim=1)
        angles, shared = self.rotary(x, torch.arange(x.shape[1])[None]), None
        for layer in self.layers:
            x, shared = layer(x, angles, shared)
        return SimpleNamespace(logits=self.norm(x[:, len(self.meta) :]) @ self.embed.weight.T)


def example(seed: int = 0) -> Example:
    """The tiny model and eleven tokens."""
    from nexus.models.hybrid.hymba import Hymba, HymbaConfig

    torch.manual_seed(seed)
    return Example(Hymba(HymbaConfig.tiny()), (torch.randint(0, 97, (2, 11)),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The tiny model: logits, gradients, cached decode."""
    from nexus.models.hybrid.hymba import Hymba, HymbaConfig

    torch.manual_seed(seed)
    c = HymbaConfig.tiny()
    theirs: Any = _Theirs(c)
    randomise(theirs, seed, 0.05)
    for layer in theirs.layers:
        nn.init.eye_(layer.mamba.out_proj.weight)  # the output projection is shared by both kinds of heads
    yield from compare_lm(Hymba(c), theirs, NAMES, c.vocab_size, seed)
