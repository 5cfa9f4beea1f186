"""ALiBi beside transformers' Bloom and MPT, and x-transformers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import noise, oracle

ORACLE = ("transformers", "x-transformers")
TOLERANCE = 1e-6  # the oracles' slopes are in float32
MUTATIONS = (
    Mutation(
        "far keys are preferred", "(-self.slopes[:, None, None] * distance)", "(self.slopes[:, None, None] * distance)"
    ),
    Mutation(
        "slopes from zero",
        "torch.arange(1, power + 1, dtype=torch.float64)",
        "torch.arange(power, dtype=torch.float64)",
    ),
    Mutation(
        "missing heads take the even slopes",
        "torch.arange(1, 2 * power + 1, 2, dtype",
        "torch.arange(2, 2 * power + 2, 2, dtype",
    ),
    Mutation("one ratio for every number of heads", "-8 / power", "-1"),
    Mutation(
        "future not by distance",
        "distances(length, keys, self.slopes.device).abs()",
        "distances(length, keys, self.slopes.device)",
    ),
)


def example(seed: int = 0) -> Example:
    """Six heads, seven queries and keys."""
    from nexus.layers.positional.alibi import ALiBi

    return Example(ALiBi(6), (7 + seed, 7 + seed))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Slopes of 1 to 24 heads three times; causal weights with Bloom's and MPT's forms; distances to both sides."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    from nexus.layers.positional.alibi import ALiBi

    future = torch.ones(9, 9, dtype=torch.bool).triu(1)
    scores = noise(seed, 1, 1, 9, 9, dtype=torch.float32)
    for heads in (*range(1, 17), 20, 24):
        ours = ALiBi(heads)
        yield Comparison(
            f"{heads} heads", ours(4, 9)[0], oracle("x_transformers.x_transformers").AlibiPositionalBias(heads)(4, 9)
        )

        def weights(bias: torch.Tensor) -> torch.Tensor:
            return F.softmax((scores + bias).masked_fill(future, float("-inf")), dim=-1)

        mine = weights(ours(9, 9))
        bloom = build_alibi_tensor(torch.ones(1, 9), heads, torch.float32).view(1, heads, 1, 9)
        yield Comparison(f"{heads} heads, Bloom", mine, weights(bloom))
        yield Comparison(f"{heads} heads, MPT", mine, weights(build_mpt_alibi_tensor(heads, 9)[None]))
