"""LSH attention beside transformers' Reformer, on the same directions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, run

ORACLE = ("transformers",)
TOLERANCE = 1e-5  # the oracle's unit vectors have an epsilon of 1e-6 in them
MUTATIONS = (
    Mutation("keys not of unit length", "keys = qk / qk.norm(dim=-1, keepdim=True).clamp(min=1e-6)", "keys = qk"),
    Mutation("a position sees itself", "scores.masked_fill(query.unsqueeze(-1) == key.unsqueeze(-2), SELF)", "scores"),
    Mutation("next chunk instead of the one before", "x.roll(1, dims=2)", "x.roll(-1, dims=2)"),
    Mutation("rounds weigh alike", "log_sum.softmax(2)", "torch.full_like(log_sum, 1 / rounds)"),
    Mutation("opposite directions forgotten", "torch.cat((turned, -turned), dim=-1)", "torch.cat((turned, turned), dim=-1)"),
    Mutation("rounds sorted together", " + torch.arange(rounds, device=qk.device)[:, None] * (int(buckets.max()) + 1)", ""),
    Mutation("causal mask on sorted places", "query.unsqueeze(-1) < key.unsqueeze(-2)", "query.unsqueeze(-1) > key.unsqueeze(-2)"),
)  # fmt: skip


def _layer(causal: bool, seed: int) -> Any:
    from nexus.layers.attention.lsh import LSHAttention

    return drawn(LSHAttention(16, 2, n_buckets=4, n_rounds=3, chunk=4, causal=causal), seed, dtype=torch.float32)


def example(seed: int = 0) -> Example:
    """A layer of 2 heads, a text, and directions."""
    layer = _layer(False, seed)
    return Example(
        layer, (noise(seed, 2, 24, 16, dtype=torch.float32), layer.draw(torch.Generator().manual_seed(seed)))
    )


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Three rounds of hashing, encoder and decoder."""
    from transformers.models.reformer import modeling_reformer as reformer

    x = noise(seed, 2, 24, 16)
    for causal in (False, True):
        ours = _layer(causal, seed).double()
        config = reformer.ReformerConfig(
            hidden_size=16, num_attention_heads=2, attention_head_size=8, num_buckets=4, num_hashes=3, is_decoder=causal,
            lsh_attn_chunk_length=4, lsh_num_chunks_before=1, lsh_num_chunks_after=0, hash_seed=seed,
            lsh_attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        weights = {"query_key.weight": ours.qk_proj.weight, "value.weight": ours.v_proj.weight}
        inside = run(reformer.LSHSelfAttention(config).double(), weights, x).hidden_states
        torch.manual_seed(seed)
        rotations = torch.randn(2, 8, 3, 2, dtype=torch.float64)  # the oracle's own draw
        leaves = {"x": x, "qk": ours.qk_proj.weight, "v": ours.v_proj.weight}
        yield from compare(ours(x, rotations), ours.o_proj(inside), leaves, "causal" if causal else "encoder")
