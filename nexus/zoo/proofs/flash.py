"""Flash Attention beside torch's scaled_dot_product_attention."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise

ORACLE = ("torch",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("old sums not shrunk", "total = total * shrink + weights", "total = total + weights"),
    Mutation("old output not shrunk", "y = torch.addcmul(weights @ v[..., first : first + block, :], y, shrink)", "y = y + weights @ v[..., first : first + block, :]"),
    Mutation("maximum not carried on", "            top = new_top\n", ""),
    Mutation("output not divided", "outputs.append(y / total.masked_fill(blind, 1.0))", "outputs.append(y)"),
    Mutation("causal mask off by one", ".triu_(reach - first + 1)", ".triu_(reach - first + 2)"),
    Mutation("scale forgotten in backward", "dscores.mul_(weights).mul_(scale)", "dscores.mul_(weights)"),
    Mutation("softmax's own term forgotten in backward", ".sub_(along[..., rows, :])", ""),
    Mutation("values' gradient of the last tile only", "dv[..., columns, :] += weights", "dv[..., columns, :] = weights"),
    Mutation("mask of the first tile for all", "mask[..., first : first + k.shape[-2]]", "mask[..., : k.shape[-2]]"),
    Mutation("queries aligned with the first keys", "return start + k.shape[-2] - q.shape[-2]", "return start"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """A layer of 4 heads, and a text."""
    from nexus.layers.attention.flash import FlashAttention

    return Example(
        drawn(FlashAttention(16, 4), seed, dtype=torch.float32), (noise(seed, 2, 7, 16, dtype=torch.float32),)
    )


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Odd lengths over several tiles; plain, causal, causal on a longer past, and with keys masked."""
    from nexus.layers.attention.flash import flash_attention

    for length, keys, causal, padded in (
        (1, 1, True, False),
        (37, 37, True, False),
        (29, 45, False, True),
        (19, 40, True, True),
    ):
        q, k, v = noise(seed, 2, 3, length, 8), noise(seed + 1, 2, 3, keys, 8), noise(seed + 2, 2, 3, keys, 8)
        real = torch.ones(2, 1, 1, keys, dtype=torch.bool)
        if padded:
            real[0, ..., 20:24], real[1, ..., 30:] = False, False
        seen = real.expand(2, 1, length, keys)
        if causal:
            seen = seen & torch.ones(length, keys, dtype=torch.bool).tril(keys - length)
        theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        ours = flash_attention(q, k, v, real if padded else None, causal, block=16)
        what = f"{length} queries, {keys} keys" + ", causal" * causal + ", padded" * padded
        yield from compare(ours, theirs, {"q": q, "k": k, "v": v}, what)
