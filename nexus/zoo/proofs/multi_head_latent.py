"""Multi-head latent attention beside transformers' DeepSeek-V3."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("transformers",)
TOLERANCE = 1e-5  # the oracle takes norms, softmax and angles in float32
MUTATIONS = (
    Mutation("latent not normalised", "latent, k_rope = self.kv_norm(latent), k_rope.unsqueeze(1)", "k_rope = k_rope.unsqueeze(1)"),
    Mutation("scale of the latent width", "q = q * (q.shape[-1] / (self.head_dim + self.rope_dim)) ** 0.5  #", "#"),
    Mutation("rotary pairs taken as halves", "if self.interleaved:", "if not self.interleaved:"),
    Mutation("rotary key not turned", "apply_rotary(k_rope, *rotary).squeeze(1)", "k_rope.squeeze(1)"),
    Mutation("keys and values swapped when unfolding", "k, v = kv.chunk(2, dim=-1)", "v, k = kv.chunk(2, dim=-1)"),
    Mutation("keys and values swapped when absorbed", "w_k, w_v = self", "w_v, w_k = self"),
    Mutation("not causal when absorbed", "latent.unsqueeze(1), causal=True)", "latent.unsqueeze(1))"),
)  # fmt: skip


def _layer(q_rank: int | None, interleaved: bool, seed: int) -> nn.Module:
    from nexus.layers.attention.multi_head_latent import MultiHeadLatentAttention

    layer = MultiHeadLatentAttention(16, 3, 8, q_rank, head_dim=6, rope_dim=4, interleaved=interleaved)
    return drawn(layer, seed, dtype=torch.float32)


def example(seed: int = 0) -> Example:
    """A layer of 3 heads over latents of 8 channels, a text and its angles."""
    from nexus.layers.positional.rope import RotaryEmbedding

    x = noise(seed, 2, 7, 16, dtype=torch.float32)
    return Example(_layer(5, True, seed), (x, RotaryEmbedding(4)(torch.arange(7)[None])))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """With and without a latent of queries, both layouts, unfolded and absorbed."""
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek

    from nexus.layers.positional.rope import RotaryEmbedding

    x, at = noise(seed, 2, 7, 16, dtype=torch.float32), torch.arange(7)[None]
    blocked = torch.full((7, 7), float("-inf")).triu(1)[None, None]
    for q_rank, interleaved in ((5, True), (None, False)):
        ours = _layer(q_rank, interleaved, seed)
        config = deepseek.DeepseekV3Config(
            hidden_size=16, num_attention_heads=3, num_key_value_heads=3, kv_lora_rank=8, q_lora_rank=q_rank,
            qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=6, rope_interleave=interleaved, attention_bias=False,
            attn_implementation="eager",
        )  # fmt: skip
        turns = deepseek.DeepseekV3RotaryEmbedding(config)(x, at)
        attention = deepseek.DeepseekV3Attention(config, 0)
        y = run(attention, bridge(ours, q_rank), x, turns, blocked)[0]
        rotary = RotaryEmbedding(4)(at)
        for absorb in (False, True):
            what = f"q_rank={q_rank}, {'absorbed' if absorb else 'unfolded'}"
            yield from compare(ours(x, rotary, absorb=absorb)[0], y, {**parameters(ours), "x": x}, what)


def bridge(ours: nn.Module, q_rank: int | None) -> dict[str, Tensor]:
    """Our weights under DeepSeek's names; its rows are a head's keys, then its values, like ours."""
    names = {
        "kv_down_proj.weight": "kv_a_proj_with_mqa.weight",
        "kv_norm.weight": "kv_a_layernorm.weight",
        "kv_up_proj.weight": "kv_b_proj.weight",
        "o_proj.weight": "o_proj.weight",
    }
    if q_rank is None:
        names["q_proj.weight"] = "q_proj.weight"
    else:
        queries = ("q_a_proj", "q_a_layernorm", "q_b_proj")
        names |= {f"q_proj.{i}.weight": f"{name}.weight" for i, name in enumerate(queries)}
    return {theirs: ours.get_parameter(name) for name, theirs in names.items()}
