"""Griffin: against transformers' RecurrentGemma, whole and cached, over more tokens than its window."""

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
        (".ffn_norm.", ".channel_pre_norm."),
        (".norm.", ".temporal_pre_norm."),
        (".ffn.", ".mlp_block."),
        (".mixer.gate_proj", ".temporal_block.linear_y"),
        (".mixer.in_proj", ".temporal_block.linear_x"),
        (".mixer.out_proj", ".temporal_block.linear_out"),
        (".mixer.conv_", ".temporal_block.conv_1d."),
        (".mixer.rnn.Lambda", ".temporal_block.rg_lru.recurrent_param"),
        (".mixer.rnn.input_", ".temporal_block.rg_lru.input_gate_"),
        (".mixer.rnn.decay_", ".temporal_block.rg_lru.recurrent_gate_"),
        (".mixer.", ".temporal_block."),
    ),
    exact={"norm.weight": "model.final_norm.weight"},
)
ATTENTION = "nexus/models/hybrid/_attention.py"

MUTATIONS = (
    Mutation("embeddings not scaled", "return x * (float(", "return x * 1.0 if True else (float("),
    Mutation("logits not capped", "return torch.tanh(logits / self.config.logit_cap) * self.config.logit_cap", "return logits"),
    Mutation("gate without GELU", "gelu_tanh(self.gate_proj(x)) * h", "self.gate_proj(x) * h"),
    Mutation("window one too wide", "known > at - self.window", "known >= at - self.window", ATTENTION),
    Mutation("whole head turned", "rotary_fraction=c.rotary_fraction", "rotary_fraction=1.0"),
    Mutation("positions start anew in the cache", "start = 0 if state is None else state.position", "start = 0", ATTENTION),
    Mutation("norm multiplies by its weight alone", "1 + self.weight if self.unit_offset", "self.weight if self.unit_offset", "nexus/layers/components/rms_norm.py"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """The tiny model and eleven tokens."""
    from nexus.models.hybrid.griffin import Griffin, GriffinConfig

    torch.manual_seed(seed)
    return Example(Griffin(GriffinConfig.tiny()), (torch.randint(0, 97, (2, 11)),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The tiny model: logits, gradients, cached decode."""
    from transformers import RecurrentGemmaConfig, RecurrentGemmaForCausalLM

    from nexus.models.hybrid.griffin import Griffin, GriffinConfig

    torch.manual_seed(seed)
    c = GriffinConfig.tiny().replace(embed_scale="bfloat16")
    theirs = RecurrentGemmaForCausalLM(
        RecurrentGemmaConfig(
            vocab_size=c.vocab_size, hidden_size=c.d_model, intermediate_size=c.d_ff, num_hidden_layers=c.n_layers,
            num_attention_heads=c.n_heads, num_key_value_heads=c.n_kv_heads, lru_width=c.d_rnn,
            attention_window_size=c.window, pad_token_id=None,
        )
    ).eval()  # fmt: skip
    randomise(theirs, seed, 0.05)
    yield from compare_lm(Griffin(c), theirs, NAMES, c.vocab_size, seed)
