"""Samba: against the same stack put together from transformers' Mamba mixer and Mistral's layer, whole and cached."""

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
        (".ffn_norm.", ".post_attention_layernorm."),
        (".norm.", ".input_layernorm."),
        (".ffn.", ".mlp."),
        *((f".mixer.{part}.", f".self_attn.{part}.") for part in ("q_proj", "k_proj", "v_proj", "o_proj")),
        (".mixer.conv_", ".mixer.conv1d."),
    )
)
ATTENTION = "nexus/models/hybrid/_attention.py"

MUTATIONS = (
    Mutation("layers in the other order", "c.plan[i % len(c.plan)]", "c.plan[(i + 1) % len(c.plan)]"),
    Mutation("attention sees everything", "rope_theta=c.rope_theta, window=c.window", "rope_theta=c.rope_theta"),
    Mutation("attention has no positions", "rope_theta=c.rope_theta, window=c.window", "window=c.window"),
    Mutation("window one too narrow", "known > at - self.window", "known > at - self.window + 1", ATTENTION),
    Mutation("cache keeps one key too few", "spare = k.shape[2] - self.sinks - self.window", "spare = k.shape[2] - self.sinks - self.window + 2", ATTENTION),
    Mutation("feed-forward part without its residual", "x = x + self.ffn(self.ffn_norm(x))\n        return x, state\n\n\nclass Stateless", "x = self.ffn(self.ffn_norm(x))\n        return x, state\n\n\nclass Stateless", "nexus/models/hybrid/_stack.py"),
)  # fmt: skip


class _MambaLayer(nn.Module):
    def __init__(self, config: Any, mamba: Any) -> None:
        super().__init__()
        from transformers.models.mamba.modeling_mamba import MambaMixer
        from transformers.models.mistral.modeling_mistral import MistralMLP, MistralRMSNorm

        self.input_layernorm = MistralRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = MistralRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mixer, self.mlp = MambaMixer(mamba, 0), MistralMLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class _Theirs(nn.Module):
    """Embedding, layers after a plan, norm, head."""

    def __init__(self, c: Any) -> None:
        super().__init__()
        from transformers import MambaConfig, MistralConfig
        from transformers.models.mistral.modeling_mistral import (
            MistralDecoderLayer,
            MistralRMSNorm,
            MistralRotaryEmbedding,
        )

        config = MistralConfig(
            hidden_size=c.d_model, intermediate_size=c.d_ff, num_attention_heads=c.n_heads,
            num_key_value_heads=c.n_kv_heads, rms_norm_eps=c.norm_eps, head_dim=c.d_model // c.n_heads,
            rope_theta=c.rope_theta, attn_implementation="eager",
        )  # fmt: skip
        mamba = MambaConfig(hidden_size=c.d_model, state_size=c.d_state, num_hidden_layers=1, use_mambapy=False)
        self.window = c.window
        self.embed, self.norm = nn.Embedding(c.vocab_size, c.d_model), MistralRMSNorm(c.d_model, c.norm_eps)
        self.layers = nn.ModuleList(
            _MambaLayer(config, mamba) if c.plan[i % len(c.plan)] == "M" else MistralDecoderLayer(config, i)
            for i in range(c.n_layers)
        )
        self.rotary = MistralRotaryEmbedding(config)
        self.lm_head = nn.Linear(c.d_model, c.vocab_size, bias=False)

    def forward(self, ids: Tensor, use_cache: bool = False) -> SimpleNamespace:
        x, at = self.embed(ids), torch.arange(ids.shape[1])
        angles, gap = self.rotary(x, at[None]), at[:, None] - at
        mask = torch.where((gap >= 0) & (gap < self.window), 0.0, float("-inf"))[None, None]
        for layer in self.layers:
            if isinstance(layer, _MambaLayer):
                x = layer(x)
            else:
                x = layer(x, attention_mask=mask, position_embeddings=angles)
        return SimpleNamespace(logits=self.lm_head(self.norm(x)))


def example(seed: int = 0) -> Example:
    """The tiny model and eleven tokens."""
    from nexus.models.hybrid.samba import Samba, SambaConfig

    torch.manual_seed(seed)
    return Example(Samba(SambaConfig.tiny()), (torch.randint(0, 97, (2, 11)),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The tiny model: logits, gradients, cached decode."""
    from nexus.models.hybrid.samba import Samba, SambaConfig

    torch.manual_seed(seed)
    c = SambaConfig.tiny()
    theirs = _Theirs(c)
    randomise(theirs, seed, 0.05)
    yield from compare_lm(Samba(c), theirs, NAMES, c.vocab_size, seed)
