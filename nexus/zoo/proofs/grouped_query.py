"""Grouped-query attention beside transformers' Llama, and multi-query attention beside Falcon."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("transformers",)
TOLERANCE = 1e-5  # both oracles take softmax and angles in float32
MUTATIONS = (
    Mutation(
        "keys not turned",
        "qkv[:, : self.n_heads + self.n_kv_heads], *rotary)",
        "qkv[:, : self.n_heads + self.n_kv_heads], rotary[0], 0 * rotary[1])",
    ),
    Mutation(
        "queries and keys swapped",
        "q, k = turned.split([self.n_heads, self.n_kv_heads], dim=1)",
        "k, q = turned.split([self.n_kv_heads, self.n_heads], dim=1)",
    ),
    Mutation("not causal", "is_causal=sight.causal", "is_causal=False"),
    Mutation("values are keys", "v = qkv[:, self.n_heads + self.n_kv_heads :]", "v = k"),
    Mutation(
        "heads not put back in order",
        "project(self.o_proj, y.transpose(1, 2).flatten(-2))",
        "project(self.o_proj, y.reshape(len(y), y.shape[2], -1))",
    ),
    Mutation(
        "angles turn backwards",
        "torch.cat((-sin, sin), dim=-1)",
        "torch.cat((sin, -sin), dim=-1)",
        "nexus/layers/positional/rope.py",
    ),
)


def example(seed: int = 0) -> Example:
    """A layer of 4 heads that share 2 keys, a text, its angles and what it may see."""
    from nexus.layers.attention.grouped_query import GroupedQueryAttention
    from nexus.layers.attention.visibility import look
    from nexus.layers.positional.rope import RotaryEmbedding

    layer, at = drawn(GroupedQueryAttention(16, 4, 2), seed, dtype=torch.float32), torch.arange(7)[None]
    return Example(layer, (noise(seed, 2, 7, 16, dtype=torch.float32), RotaryEmbedding(4)(at), look(at, None, None, 0)))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Four heads that share 1, 2 and 4 keys; one of them Falcon's fused layout."""
    from transformers.models.falcon import modeling_falcon as falcon
    from transformers.models.llama import modeling_llama as llama

    from nexus.layers.attention.grouped_query import GroupedQueryAttention
    from nexus.layers.attention.visibility import look
    from nexus.layers.positional.rope import RotaryEmbedding

    x, at = noise(seed, 2, 7, 16, dtype=torch.float32), torch.arange(7)[None]
    blocked = torch.full((7, 7), float("-inf")).triu(1)[None, None]
    for shared in (1, 2, 4):
        ours = drawn(GroupedQueryAttention(16, 4, shared, qkv_bias=True), seed, dtype=torch.float32)
        config = llama.LlamaConfig(
            hidden_size=16, num_attention_heads=4, num_key_value_heads=shared, attention_bias=True,
            attn_implementation="eager",
        )  # fmt: skip
        names = [f"{name}_proj" for name in "qkv"]
        rows = [16, 4 * shared, 4 * shared]
        weights = {f"{n}.weight": w for n, w in zip(names, ours.qkv_proj.weight.split(rows), strict=True)}
        weights |= {f"{n}.bias": b for n, b in zip(names, ours.qkv_proj.bias.split(rows), strict=True)}
        weights |= {"o_proj.weight": ours.o_proj.weight, "o_proj.bias": torch.zeros(16)}
        turns = llama.LlamaRotaryEmbedding(config)(x, at)
        y = run(llama.LlamaAttention(config, 0), weights, x, turns, blocked)[0]
        mine = ours(x, RotaryEmbedding(4)(at), look(at, None, None, 0))[0]
        yield from compare(mine, y, {**parameters(ours), "x": x}, f"{shared} shared, Llama")
    ours = drawn(GroupedQueryAttention(16, 4, 1), seed, dtype=torch.float32)
    settings = falcon.FalconConfig(hidden_size=16, num_attention_heads=4, bias=False, attn_implementation="eager")
    weights = {"query_key_value.weight": ours.qkv_proj.weight, "dense.weight": ours.o_proj.weight}
    turns = falcon.FalconRotaryEmbedding(settings)(x, at)
    attention = falcon.FalconAttention(settings, 0)
    y = run(attention, weights, x, alibi=None, attention_mask=blocked, position_embeddings=turns)[0]
    mine = ours(x, RotaryEmbedding(4)(at), look(at, None, None, 0))[0]
    yield from compare(mine, y, {**parameters(ours), "x": x}, "multi-query, Falcon")
