"""NoPE: attention without positions is blind to order without a mask, and theorem 1's head finds positions with one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import noise

ORACLE = ("torch",)
TOLERANCE = 1e-5  # positions up to 64 out of a float32 softmax
MUTATIONS = (
    Mutation("a bias of ones, by distance", "self.zero.expand(1, 1, length, keys)", "torch.arange(float(keys)).expand(1, 1, length, keys)"),
    Mutation("head looks at itself too little", ".triu(1).bool()", ".triu(0).bool()"),
    Mutation("head sees the future", "torch.zeros(length, length).masked_fill(torch.ones(length, length).triu(1).bool(), float(\"-inf\"))", "torch.zeros(length, length)"),
    Mutation("the second token is marked", "is_first[0] = 1", "is_first[1] = 1"),
    Mutation("not inverted", "return 1 / (", "return 1 * ("),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Seven queries and keys."""
    from nexus.layers.positional.nope import NoPE

    return Example(NoPE(), (7 + seed, 7 + seed))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Attention with this bias equals torch's with none, and moves with its tokens; positions 1 to 64 are found."""
    from nexus.layers.positional.nope import NoPE, recover_positions

    q, k, v = (noise(seed + i, 1, 2, 9, 8, dtype=torch.float32) for i in range(3))
    plain = F.scaled_dot_product_attention(q, k, v)
    biased = F.scaled_dot_product_attention(q, k, v, attn_mask=NoPE()(9, 9))
    yield Comparison("no bias", biased, plain)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    a, b, c = (t[:, :, order] for t in (q, k, v))
    moved = F.scaled_dot_product_attention(a, b, c, attn_mask=NoPE()(9, 9))
    yield Comparison("moves with its tokens", moved, plain[:, :, order])
    yield Comparison("theorem 1", recover_positions(64), torch.arange(1.0, 65))
