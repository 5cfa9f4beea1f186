"""Qwen3-Next: against transformers, whole and cached."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.parity import Renaming, calm, compare_lm, randomise
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-5

NAMES = Renaming(
    (
        ("embed.", "model.embed_tokens."),
        ("layers.", "model.layers."),
        (".ffn_norm.", ".post_attention_layernorm."),
        (".norm.", ".input_layernorm."),
        *((f".mixer.{part}.", f".self_attn.{part}.") for part in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")),
        (".mixer.qkvz_proj", ".linear_attn.in_proj_qkvz"),
        (".mixer.ba_proj", ".linear_attn.in_proj_ba"),
        (".mixer.conv_weight", ".linear_attn.conv1d.weight"),
        (".mixer.norm_weight", ".linear_attn.norm.weight"),
        (".mixer.", ".linear_attn."),
        (".ffn.experts.router", ".mlp.gate"),
        (".ffn.experts.experts.gate_up", ".mlp.experts.gate_up_proj"),
        (".ffn.experts.experts.down", ".mlp.experts.down_proj"),
        (".ffn.shared_gate", ".mlp.shared_expert_gate"),
        (".ffn.shared.", ".mlp.shared_expert."),
    ),
    exact={"norm.weight": "model.norm.weight"},
)  # fmt: skip
NORM = "nexus/layers/components/rms_norm.py"
EXPERTS = "nexus/layers/components/moe.py"

MUTATIONS = (
    Mutation("attention's gate forgotten", "y * torch.sigmoid(gate.flatten(-2))", "y + 0 * gate.flatten(-2)"),
    Mutation("queries not normed", "self.q_norm(q).transpose(1, 2)", "(q + 0 * self.q_norm(q)).transpose(1, 2)"),
    Mutation("query and gate swapped", "q, gate = both.split", "gate, q = both.split"),
    Mutation("shares don't add up to one", "if self.normalise:", "if False:", EXPERTS),
    Mutation("shared expert without its gate", "torch.sigmoid(self.shared_gate(x)) * self.shared(x)", "self.shared(x) + 0 * self.shared_gate(x)"),
    Mutation("whole head turned", "rotary_fraction=c.rotary_fraction", "rotary_fraction=1.0"),
    Mutation("attention in the wrong layers", "(i + 1) % c.attn_period == 0", "i % c.attn_period == 0"),
    Mutation("norm multiplies by its weight alone", "1 + self.weight if self.unit_offset", "self.weight if self.unit_offset", NORM),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """The tiny model and eleven tokens."""
    from nexus.models.hybrid.qwen3_next import Qwen3Next, Qwen3NextConfig

    torch.manual_seed(seed)
    return Example(Qwen3Next(Qwen3NextConfig.tiny()), (torch.randint(0, 97, (2, 11)),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The tiny model: logits, gradients, cached decode."""
    from transformers import Qwen3NextConfig as TheirConfig
    from transformers import Qwen3NextForCausalLM

    from nexus.models.hybrid.qwen3_next import Qwen3Next, Qwen3NextConfig

    torch.manual_seed(seed)
    c = Qwen3NextConfig.tiny().replace(rope_theta=10_000.0, rotary_fraction=0.5)
    theirs = Qwen3NextForCausalLM(
        TheirConfig(
            vocab_size=c.vocab_size, hidden_size=c.d_model, num_hidden_layers=c.n_layers, num_attention_heads=c.n_heads,
            num_key_value_heads=c.n_kv_heads, head_dim=c.head_dim, linear_num_value_heads=c.delta_heads,
            linear_num_key_heads=c.delta_kv_heads, linear_key_head_dim=c.delta_key_dim,
            linear_value_head_dim=c.delta_value_dim, num_experts=c.n_experts, num_experts_per_tok=c.top_k,
            moe_intermediate_size=c.d_expert, shared_expert_intermediate_size=c.d_shared,
            partial_rotary_factor=c.rotary_fraction, pad_token_id=None,
        )
    ).eval()  # fmt: skip
    calm(theirs)
    randomise(theirs, seed, 0.05)
    yield from compare_lm(Qwen3Next(c), theirs, NAMES, c.vocab_size, seed)
