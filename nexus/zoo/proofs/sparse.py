"""Sparse attention beside transformers' Longformer, local-attention, and dense attention with the same mask."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, oracle, parameters, run

ORACLE = ("transformers", "local-attention", "torch")
TOLERANCE = 1e-5  # Longformer takes softmax in float32
PATTERNS = "nexus/layers/attention/patterns.py"
MUTATIONS = (
    Mutation("window one too wide", "gap <= self.before", "gap <= self.before + 1", PATTERNS),
    Mutation("window looks ahead only as far as back", "gap >= -self.after", "gap >= -self.before", PATTERNS),
    Mutation("global tokens are seen but do not see", "(query < self.tokens) | (key", "(query < 0) | (key", PATTERNS),
    Mutation("stride counted from the key", "(query - key) % self.stride == 0", "key % self.stride == 0", PATTERNS),
    Mutation("summary at the start of a stretch", "self.stride >= self.stride - self.summary", "self.stride < self.summary", PATTERNS),
    Mutation("a block of the window missed", "max(0, row * block - self.before) // block", "max(0, row * block - self.before + block - 1) // block", PATTERNS),
    Mutation("rows not put back in order", "[:, :, order].flatten(2, 3)", ".flatten(2, 3)"),
    Mutation("padding is seen", "seen = seen & (key < length).unsqueeze(-2)", "pass"),
    Mutation("causal mask inverted", "query.unsqueeze(-1) >= key.unsqueeze(-2)", "query.unsqueeze(-1) <= key.unsqueeze(-2)"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """A layer of 4 heads with a window and a global token, and a text."""
    from nexus.layers.attention.sparse import Global, SparseAttention, Window

    layer = drawn(SparseAttention(16, 4, Window(3, 3) | Global(1), block=4), seed, dtype=torch.float32)
    return Example(layer, (noise(seed, 2, 13, 16, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Longformer's window and globals; local-attention's causal window; every pattern against a dense mask."""
    from transformers.models.longformer import modeling_longformer as longformer

    from nexus.layers.attention.sparse import (
        Fixed,
        Global,
        RandomBlocks,
        SparseAttention,
        Strided,
        Window,
        sparse_attention,
    )

    ours = drawn(SparseAttention(16, 4, Window(4, 4) | Global(2), block=5), seed, dtype=torch.float32)
    ours.register_module("o_proj", torch.nn.Identity())  # the oracle ends before it
    x = noise(seed, 2, 32, 16, dtype=torch.float32)
    theirs = longformer.LongformerSelfAttention(
        longformer.LongformerConfig(hidden_size=16, num_attention_heads=4, attention_window=[8], attention_probs_dropout_prob=0.0), 0
    ).eval()  # fmt: skip
    names = ("query", "key", "value")
    weights = {
        f"{n}{g}.weight": w for n, w in zip(names, ours.qkv_proj.weight.chunk(3), strict=True) for g in ("", "_global")
    }
    weights |= {
        f"{n}{g}.bias": b for n, b in zip(names, ours.qkv_proj.bias.chunk(3), strict=True) for g in ("", "_global")
    }
    is_global = (torch.arange(32) < 2).expand(2, -1)
    hidden = torch.zeros_like(is_global)
    y = run(
        theirs, weights, x, attention_mask=is_global * 10_000.0, is_index_masked=hidden, is_index_global_attn=is_global,
        is_global_attn=True,
    )[0]  # fmt: skip
    yield from compare(ours(x), y, {**parameters(ours), "x": x}, "Longformer")

    q, k, v = (noise(seed + i, 2, 3, 24, 8) for i in range(3))
    leaves = {"q": q, "k": k, "v": v}
    local = oracle("local_attention").LocalAttention(
        window_size=6, causal=True, look_backward=1, exact_windowsize=True, use_rotary_pos_emb=False
    )
    yield from compare(sparse_attention(q, k, v, Window(6), True, block=5), local(q, k, v), leaves, "local-attention")

    patterns = {
        "window": Window(5, 2),
        "strided": Window(4) | Strided(4),
        "fixed": Fixed(6, 2),
        "big bird": Window(3, 3) | Global(2) | RandomBlocks(4, 2, 6, seed),
    }
    q, k, v = (noise(seed + i, 2, 3, 23, 8) for i in range(3))
    leaves = {"q": q, "k": k, "v": v}
    for name, pattern in patterns.items():
        for causal in (False, True):
            theirs_dense = F.scaled_dot_product_attention(q, k, v, attn_mask=_pairs(name, pattern, causal))
            yield from compare(
                sparse_attention(q, k, v, pattern, causal, block=4), theirs_dense, leaves, name + ", causal" * causal
            )


def _pairs(name: str, pattern: object, causal: bool) -> torch.Tensor:
    """The patterns' definitions again, pair by pair, as they stand in the papers."""
    mask = torch.zeros(23, 23, dtype=torch.bool)
    for i in range(23):
        for j in range(23):
            if name == "window":
                seen = -2 <= i - j <= 5
            elif name == "strided":
                seen = 0 <= i - j <= 4 or (i - j) % 4 == 0
            elif name == "fixed":
                seen = i // 6 == j // 6 or j % 6 in (4, 5)
            else:
                seen = abs(i - j) <= 3 or i < 2 or j < 2 or j // 4 in pattern.parts[1].drawn(i // 4)  # type: ignore[attr-defined]
            mask[i, j] = seen and (j <= i or not causal)
    return mask
