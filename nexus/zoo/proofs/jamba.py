"""Jamba: against transformers, whole and cached."""

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
        (".mixer.norms.0.", ".mamba.dt_layernorm."),
        (".mixer.norms.1.", ".mamba.b_layernorm."),
        (".mixer.norms.2.", ".mamba.c_layernorm."),
        (".norm.", ".input_layernorm."),
        (".mixer.q_proj", ".self_attn.q_proj"),
        (".mixer.k_proj", ".self_attn.k_proj"),
        (".mixer.v_proj", ".self_attn.v_proj"),
        (".mixer.o_proj", ".self_attn.o_proj"),
        (".mixer.conv_weight", ".mamba.conv1d.weight"),
        (".mixer.conv_bias", ".mamba.conv1d.bias"),
        (".mixer.", ".mamba."),
        (".ffn.experts.gate_up", ".feed_forward.experts.gate_up_proj"),
        (".ffn.experts.down", ".feed_forward.experts.down_proj"),
        (".ffn.", ".feed_forward."),
    ),
    exact={"norm.weight": "model.final_layernorm.weight"},
)
EXPERTS = "nexus/layers/components/moe.py"
ATTENTION = "nexus/models/hybrid/_attention.py"

MUTATIONS = (
    Mutation("norms on dt, B and C forgotten", "inner_norms=True", "inner_norms=False"),
    Mutation("experts in the wrong layers", "index % c.expert_period == c.expert_offset", "index % c.expert_period != c.expert_offset"),
    Mutation("attention in the wrong layer", "if kind == \"A\"", "if kind != \"A\""),
    Mutation("shares made to add up to one", "if self.normalise:", "if True:", EXPERTS),
    Mutation("shares forgotten", "answers * routing.weights.flatten()[order].unsqueeze(-1)", "answers + 0 * routing.weights.flatten()[order].unsqueeze(-1)", EXPERTS),
    Mutation("mask off by one", "seen = known <= at", "seen = known <= at + 1", ATTENTION),
    Mutation("cache not extended", "k, v = torch.cat((state.key, k), dim=2), torch.cat((state.value, v), dim=2)", "pass", ATTENTION),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """The tiny model and eleven tokens."""
    from nexus.models.hybrid.jamba import Jamba, JambaConfig

    torch.manual_seed(seed)
    return Example(Jamba(JambaConfig.tiny()), (torch.randint(0, 97, (2, 11)),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The tiny model: logits, gradients, cached decode."""
    from transformers import JambaConfig as TheirConfig
    from transformers import JambaForCausalLM

    from nexus.models.hybrid.jamba import Jamba, JambaConfig

    torch.manual_seed(seed)
    c = JambaConfig.tiny()
    theirs = JambaForCausalLM(
        TheirConfig(
            vocab_size=c.vocab_size, hidden_size=c.d_model, intermediate_size=c.d_ff, num_hidden_layers=c.n_layers,
            num_attention_heads=c.n_heads, num_key_value_heads=c.n_kv_heads, attn_layer_period=c.attn_period,
            attn_layer_offset=c.attn_offset, num_experts=c.n_experts, mamba_d_state=c.d_state, use_mambapy=False,
            use_associative_scan=False, pad_token_id=None,
        )
    ).eval()  # fmt: skip
    randomise(theirs, seed, 0.05)
    yield from compare_lm(Jamba(c), theirs, NAMES, c.vocab_size, seed)
