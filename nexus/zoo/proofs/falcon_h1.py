"""Falcon-H1: against transformers, with and without Mamba-2's norm, whole and cached."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.parity import Renaming, compare_lm, randomise
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-5

NAMES = Renaming(
    (
        ("embed.", "model.embed_tokens."),
        ("layers.", "model.layers."),
        (".ffn_norm.", ".pre_ff_layernorm."),
        (".mamba.norm.", ".mamba.NORM."),
        (".norm.", ".input_layernorm."),
        (".mamba.NORM.", ".mamba.norm."),
        (".attention.", ".self_attn."),
        (".mamba.conv_weight", ".mamba.conv1d.weight"),
        (".mamba.conv_bias", ".mamba.conv1d.bias"),
        (".ffn.", ".feed_forward."),
    ),
    exact={"norm.weight": "model.final_layernorm.weight"},
)

MUTATIONS = (
    Mutation("multiplier of the keys forgotten", "return q, k * self.key_multiplier, v", "return q, k, v"),
    Mutation("multipliers of the inner parts in another order", "counts = torch.tensor([inner, inner, states, states, c.ssm_heads])", "counts = torch.tensor([inner, states, states, inner, c.ssm_heads])"),
    Mutation("multiplier of the state space's input forgotten", "self.scale * super().forward(self.factor * x)", "self.scale * super().forward(x)"),
    Mutation("multiplier of the gate outside of SiLU", "F.silu(self.gate_proj(x) * self.gate_multiplier)", "F.silu(self.gate_proj(x)) * self.gate_multiplier"),
    Mutation("attention reads the unscaled input", "normed * c.attention_in_multiplier", "normed"),
    Mutation("mixers one after the other", "self.attention(normed * c.attention_in_multiplier, None", "self.attention((normed + recurrent) * c.attention_in_multiplier, None"),
    Mutation("logits' multiplier forgotten", "return logits * self.config.logit_multiplier", "return logits"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """The tiny model and eleven tokens."""
    from nexus.models.hybrid.falcon_h1 import FalconH1, FalconH1Config

    torch.manual_seed(seed)
    return Example(FalconH1(FalconH1Config.tiny()), (torch.randint(0, 97, (2, 11)),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The tiny model with the plain gate, and with the norm: logits, gradients, cached decode."""
    from transformers import FalconH1Config as TheirConfig
    from transformers import FalconH1ForCausalLM

    from nexus.models.hybrid.falcon_h1 import FalconH1, FalconH1Config

    for norm in (False, True):
        torch.manual_seed(seed)
        c = FalconH1Config.tiny().replace(ssm_norm=norm)
        theirs = FalconH1ForCausalLM(
            TheirConfig(
                vocab_size=c.vocab_size, hidden_size=c.d_model, intermediate_size=c.d_ff, num_hidden_layers=c.n_layers,
                num_attention_heads=c.n_heads, num_key_value_heads=c.n_kv_heads, head_dim=c.head_dim,
                mamba_n_heads=c.ssm_heads, mamba_d_head=c.ssm_head_dim, mamba_d_state=c.d_state,
                mamba_d_ssm=c.ssm_heads * c.ssm_head_dim, mamba_n_groups=c.ssm_groups, mamba_chunk_size=16,
                mamba_rms_norm=norm, mamba_norm_before_gate=False, rms_norm_eps=c.norm_eps,
                embedding_multiplier=c.embedding_multiplier, lm_head_multiplier=c.logit_multiplier,
                key_multiplier=c.key_multiplier, attention_in_multiplier=c.attention_in_multiplier,
                attention_out_multiplier=c.attention_out_multiplier, ssm_in_multiplier=c.ssm_in_multiplier,
                ssm_out_multiplier=c.ssm_out_multiplier, ssm_multipliers=list(c.ssm_multipliers),
                mlp_multipliers=list(c.mlp_multipliers), rope_theta=c.rope_theta, pad_token_id=None,
            )
        ).eval()  # fmt: skip
        randomise(theirs, seed, 0.05)
        yield from compare_lm(FalconH1(c), theirs, NAMES, c.vocab_size, seed)
