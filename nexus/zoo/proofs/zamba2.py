"""Zamba2: against transformers, two shared blocks in turn, whole and cached; what is shared stays one tensor."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

from nexus.zoo.parity import Renaming, compare_lm, randomise
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-5

SHARED = Renaming(
    (
        ("ffn_norm.", "pre_ff_layernorm."),
        ("attention.", "self_attn."),
        ("gate_up.", "feed_forward.gate_up_proj."),
        ("down.", "feed_forward.down_proj."),
    ),
    exact={"norm.weight": "input_layernorm.weight"},
)

MUTATIONS = (
    Mutation("embeddings not read again", "torch.cat((x, embedded), dim=-1)", "torch.cat((x, x), dim=-1)"),
    Mutation("one adapter for all uses", "turn, which = divmod(use, len(self.shared))", "turn, which = 0, use % len(self.shared)"),
    Mutation("scale of ordinary attention", "scale=(head_dim / 2) ** -0.5", "scale=head_dim**-0.5"),
    Mutation("shared block's output in the residual stream", "return x + y, state", "return inner + y, state"),
    Mutation("adapters of the queries forgotten", "t + adapter(both).unflatten", "t + 0 * adapter(both).unflatten"),
    Mutation("step size may be smaller than its bound", "dt_min=c.dt_min", "dt_min=0.2"),
    Mutation("SiLU in place of GELU", "F.gelu(gate) * up", "F.silu(gate) * up"),
)  # fmt: skip


class _Names(Renaming):
    """Where a parameter of a shared block goes depends on the layer that first uses it."""

    plan = "MSSMS"
    n_shared = 2

    def __call__(self, name: str) -> str:
        firsts = [i for i, kind in enumerate(self.plan) if kind == "S"]
        if found := re.match(r"shared\.(\d)\.(.*)", name):
            block, rest = int(found[1]), found[2]
            start = f"model.layers.{firsts[block]}.shared_transformer."
            if adapter := re.match(r"(ffn|qkv)_adapters\.(\d)\.(.*)", rest):
                use = int(adapter[2]) * self.n_shared + block
                if adapter[1] == "ffn":
                    return f"{start}feed_forward.gate_up_proj_adapter_list.{use}.{adapter[3]}"
                which, tail = adapter[3].split(".", 1)
                return f"{start}self_attn.linear_{'qkv'[int(which)]}_adapter_list.{use}.{tail}"
            return start + SHARED(rest)
        if found := re.match(r"layers\.(\d)\.(.*)", name):
            rest = found[2].replace("conv_", "conv1d.")
            rest = "input_layernorm.weight" if rest == "norm.weight" else rest
            inner = "mamba_decoder." if self.plan[int(found[1])] == "S" and "shared_proj" not in rest else ""
            return f"model.layers.{found[1]}.{inner}{rest.replace('shared_proj', 'linear')}"
        return {"norm.weight": "model.final_layernorm.weight", "embed.weight": "model.embed_tokens.weight"}[name]


def example(seed: int = 0) -> Example:
    """The tiny model and eleven tokens."""
    from nexus.models.hybrid.zamba2 import Zamba2, Zamba2Config

    torch.manual_seed(seed)
    return Example(Zamba2(Zamba2Config.tiny()), (torch.randint(0, 97, (2, 11)),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The tiny model: logits, gradients (summed over the uses of what is shared), cached decode."""
    from transformers import Zamba2Config as TheirConfig
    from transformers import Zamba2ForCausalLM

    from nexus.models.hybrid.zamba2 import Zamba2, Zamba2Config

    torch.manual_seed(seed)
    c = Zamba2Config.tiny()
    kinds = {"M": "mamba", "S": "hybrid"}
    theirs = Zamba2ForCausalLM(
        TheirConfig(
            vocab_size=c.vocab_size, hidden_size=c.d_model, num_hidden_layers=len(c.plan),
            layers_block_type=[kinds[kind] for kind in c.plan], intermediate_size=c.d_ff,
            num_attention_heads=c.n_heads, num_key_value_heads=c.n_kv_heads, n_mamba_heads=c.ssm_heads,
            mamba_ngroups=c.ssm_groups, mamba_d_state=c.d_state, chunk_size=16, num_mem_blocks=c.n_shared,
            use_shared_attention_adapter=c.adapt_attention, adapter_rank=c.adapter_rank, use_mem_rope=True,
            rms_norm_eps=c.norm_eps, pad_token_id=None,
        )
    ).eval()  # fmt: skip
    randomise(theirs, seed, 0.05)
    yield from compare_lm(Zamba2(c), theirs, _Names(), c.vocab_size, seed)
