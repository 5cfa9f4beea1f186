"""Costs of attention: the projections are linear in the length, scores and means quadratic, unless a pattern, a chunk
or a state takes their place."""

from __future__ import annotations

from typing import Any

import torch

from nexus.layers import attention
from nexus.layers.attention.patterns import Window
from nexus.layers.attention.visibility import look
from nexus.layers.positional.rope import RotaryEmbedding
from nexus.zoo.formulas._entry import Entry, over_text
from nexus.zoo.proof import Example

WEIGHTS = "4 * d_model ** 2 + 4 * d_model"
PROJECTIONS = "8 * B * T * d_model ** 2"
QUADRATIC = f"{PROJECTIONS} + 4 * B * T ** 2 * d_model"
SIZES = ({"B": 2, "T": 7, "d_model": 16, "n_heads": 4}, {"B": 3, "T": 10, "d_model": 24, "n_heads": 2})


def _with(*more: dict[str, int]) -> tuple[dict[str, int], ...]:
    return tuple(one | other for one, other in zip(SIZES, more, strict=True))


def _grouped(B: int, T: int, d_model: int, **sizes: Any) -> Example:
    at = torch.arange(T)[None]
    layer = attention.GroupedQueryAttention(d_model, **sizes)
    return Example(layer, (torch.randn(B, T, d_model), RotaryEmbedding(sizes["head_dim"])(at), look(at, None, None, 0)))


def _latent(B: int, T: int, d_model: int, **sizes: Any) -> Example:
    layer = attention.MultiHeadLatentAttention(d_model, **sizes)
    return Example(layer, (torch.randn(B, T, d_model), RotaryEmbedding(sizes["rope_dim"])(torch.arange(T)[None])))


def _sparse(d_model: int, n_heads: int, block: int) -> attention.SparseAttention:
    return attention.SparseAttention(d_model, n_heads, Window(block, block), block=block)


def _after_step(example: Example) -> object:
    """The state of an attention that is stepped by a call of its own."""
    layer, (x,) = example
    assert isinstance(layer, attention.LinearAttention)
    assert isinstance(x, torch.Tensor)
    return layer.step(x, layer.init_state(len(x)))[1]


ENTRIES = {
    "multi_head": Entry(
        over_text(attention.MultiHeadAttention), SIZES, WEIGHTS, QUADRATIC,
        activations="E * B * T * (5 * d_model + n_heads)",
        note="self-attention; kept for backward are input, queries, keys, values, output and one sum a query",
    ),
    "grouped_query": Entry(
        _grouped, _with({"n_kv_heads": 2, "head_dim": 6}, {"n_kv_heads": 1, "head_dim": 8}),
        parameters="2 * d_model * (n_heads + n_kv_heads) * head_dim",
        flops="4 * B * T * d_model * (n_heads + n_kv_heads) * head_dim + 4 * B * T ** 2 * n_heads * head_dim",
        activations="E * B * T * (d_model + 3 * (n_heads + n_kv_heads) * head_dim + n_heads) + 2 * E * T * head_dim",
        cache="2 * E * B * T * n_kv_heads * head_dim",
        note="multi-query with n_kv_heads = 1",
    ),
    "multi_head_latent": Entry(
        _latent, _with({"kv_rank": 5, "q_rank": 7, "head_dim": 6, "rope_dim": 4},
                       {"kv_rank": 9, "q_rank": 11, "head_dim": 8, "rope_dim": 2}),
        where={"weights": "d_model * (q_rank + kv_rank + rope_dim) + q_rank * n_heads * (head_dim + rope_dim) "
                          "+ 2 * kv_rank * n_heads * head_dim + n_heads * head_dim * d_model"},
        parameters="weights + q_rank + kv_rank",
        flops="2 * B * T * weights + 2 * B * T ** 2 * n_heads * (2 * head_dim + rope_dim)",
        activations="E * B * T * (d_model + 2 * q_rank + 2 * kv_rank + rope_dim + 2 + n_heads * (T + 4 * head_dim "
                    "+ 2 * rope_dim)) + 2 * E * T * rope_dim",
        cache="E * B * T * (kv_rank + rope_dim)",
        note="unfolded, as in training; the cache does not grow with the heads",
    ),
    "flash": Entry(
        over_text(attention.FlashAttention), SIZES, WEIGHTS, QUADRATIC,
        activations="E * B * T * (6 * d_model + n_heads)",
        note="self-attention; as much work as multi-head attention, and nothing of T ** 2 is kept",
    ),
    "linear": Entry(
        over_text(attention.LinearAttention), SIZES, WEIGHTS,
        flops=f"{PROJECTIONS} + 4 * B * T * d_model ** 2 // n_heads",
        activations="E * B * T * (10 * d_model + n_heads) + E * B * d_model * (d_model // n_heads + 1) "
                    "+ B * T * n_heads",
        cache="E * B * d_model * (d_model // n_heads + 1)", state=_after_step,
        note="every query sees every key; the cache is that of the causal form",
    ),
    "performer": Entry(
        over_text(attention.PerformerAttention), _with({"n_features": 9}, {"n_features": 14}), WEIGHTS,
        flops=f"{PROJECTIONS} + 8 * B * T * d_model * n_features",
        activations="E * B * T * (6 * d_model + n_heads * (5 * n_features + 2)) "
                    "+ E * B * n_features * (d_model + n_heads) + B * T * n_heads",
        cache="E * B * n_features * (d_model + n_heads)", state=_after_step,
        note="every query sees every key; the cache is that of the causal form",
    ),
    "sparse": Entry(
        over_text(_sparse), ({"B": 2, "T": 20, "d_model": 16, "n_heads": 4, "block": 4},
                             {"B": 3, "T": 30, "d_model": 24, "n_heads": 2, "block": 5}), WEIGHTS,
        flops=f"{PROJECTIONS} + 4 * B * block * (3 * T - 2 * block) * d_model",
        activations="E * B * (3 * T * d_model + (3 * T - 2 * block) * (2 * d_model + n_heads * block))",
        note="a window of one block to each side; T a multiple of the block",
    ),
    "lsh": Entry(
        over_text(attention.LSHAttention),
        ({"B": 2, "T": 16, "d_model": 16, "n_heads": 4, "n_buckets": 6, "n_rounds": 2, "chunk": 4},
         {"B": 3, "T": 30, "d_model": 24, "n_heads": 2, "n_buckets": 4, "n_rounds": 3, "chunk": 5}),
        parameters="3 * d_model ** 2",
        flops="6 * B * T * d_model ** 2 + B * T * d_model * n_rounds * (n_buckets + 8 * chunk)",
        activations="E * B * T * (n_rounds * (7 * d_model + n_heads * (4 * chunk + 2)) + 5 * d_model + 2 * n_heads) "
                    "+ B * T * n_heads * n_rounds * (2 * chunk + 16)",
        note="T a multiple of the chunk; the second term is hashing and attention",
    ),
    "differential": Entry(
        over_text(attention.DifferentialAttention), SIZES,
        parameters="4 * d_model ** 2 + 3 * d_model // n_heads",
        flops=f"{PROJECTIONS} + 6 * B * T ** 2 * d_model",
        activations="E * B * T * (7 * d_model + n_heads * (2 * T + 1)) + 3 * E",
        note="two maps of half the key width over values of the whole width",
    ),
    "ring": Entry(
        over_text(attention.RingAttention), SIZES, WEIGHTS, QUADRATIC,
        activations="E * B * T * (5 * d_model + n_heads)",
        note="a ring of one; with P processes T ** 2 becomes T ** 2 / P in each, T being the whole length",
    ),
}  # fmt: skip
