"""Multi-head attention beside torch.nn.MultiheadAttention."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("torch",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("scale forgotten", "scores = q @ k.mT / q.shape[-1] ** 0.5", "scores = q @ k.mT"),
    Mutation("causal mask off by one", ".tril(keys - length)", ".tril(keys - length + 1)"),
    Mutation("mask inverted", "mask = mask | blind  #", "mask = ~mask | blind  #"),
    Mutation("keys and values swapped", "q, k, v = (t.unflatten", "q, v, k = (t.unflatten"),
    Mutation("heads taken apart the wrong way", "(self.n_heads, -1)", "(-1, self.n_heads)"),
    Mutation(
        "heads not put back in order",
        "y.transpose(1, 2).flatten(-2)",
        "y.flatten(1, 2).unflatten(1, (-1, y.shape[1])).flatten(-2)",
    ),
    Mutation("mask widened by causality", "else mask & past, False", "else mask | past, False"),
    Mutation("context forgotten", "both = F.linear(context, weights[1]", "both = F.linear(x, weights[1]"),
)


def example(seed: int = 0) -> Example:
    """A layer of 4 heads, and a text."""
    from nexus.layers.attention.multi_head import MultiHeadAttention

    return Example(
        drawn(MultiHeadAttention(16, 4), seed, dtype=torch.float32), (noise(seed, 2, 7, 16, dtype=torch.float32),)
    )


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Self and cross, plain, causal, with padding and a bias, and the weights themselves."""
    from nexus.layers.attention.multi_head import MultiHeadAttention, attention_weights

    ours = drawn(MultiHeadAttention(24, 4), seed)
    theirs = nn.MultiheadAttention(24, 4, batch_first=True, dtype=torch.float64)
    weights = {
        "in_proj_weight": ours.qkv_proj.weight,
        "in_proj_bias": ours.qkv_proj.bias,
        "out_proj.weight": ours.o_proj.weight,
        "out_proj.bias": ours.o_proj.bias,
    }
    x, context, bias = noise(seed, 2, 7, 24), noise(seed + 1, 2, 7, 24), noise(seed + 2, 7, 7)
    leaves = {**parameters(ours), "x": x}
    real = torch.ones(2, 7, dtype=torch.bool)
    real[0, 5:] = False
    future = torch.ones(7, 7, dtype=torch.bool).triu(1)

    y, shares = run(theirs, weights, x, x, x, average_attn_weights=False)
    yield from compare(ours(x), y, leaves, "self")
    q, k, _ = ours.project(x)
    yield from compare(attention_weights(q, k), shares, {"x": x}, "weights")
    y = run(theirs, weights, x, context, context, need_weights=False)[0]
    yield from compare(ours(x, context), y, {**leaves, "context": context}, "cross")
    y = run(theirs, weights, x, x, x, attn_mask=future, is_causal=True, need_weights=False)[0]
    yield from compare(ours(x, causal=True), y, leaves, "causal")
    y = run(theirs, weights, x, x, x, attn_mask=future, key_padding_mask=~real, need_weights=False)[0]
    yield from compare(ours(x, mask=real[:, None, None], causal=True), y, leaves, "causal with padding")
    y = run(theirs, weights, x, x, x, attn_mask=bias, need_weights=False)[0]
    yield from compare(ours(x, bias=bias), y, {**leaves, "bias": bias}, "bias")
