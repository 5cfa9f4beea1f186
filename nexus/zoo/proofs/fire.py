"""FIRE beside its equation, evaluated pair by pair in double precision."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, parameters

ORACLE = ("torch",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation(
        "divided by the key's position",
        "torch.maximum(query, (self",
        "torch.maximum(key[-len(query) :], 0 * key[-1:] + 3 + (self",
    ),
    Mutation("threshold forgotten", "torch.maximum(query, (self.threshold * self.threshold_gain).abs())", "query"),
    Mutation("logarithm of the distance forgotten", "(c * distance + 1).log()", "(c * distance + 1)"),
    Mutation("logarithm without the one", "(c * divisor + 1).log()", "(c * divisor).log()"),
    Mutation("distance ahead counts", ".clamp(min=0)", ""),
    Mutation("c may be negative", "self.c.abs()", "self.c"),
    Mutation("heads and keys mixed up", "permute(2, 0, 1)", "permute(2, 1, 0)"),
)


def example(seed: int = 0) -> Example:
    """Four heads, seven queries and keys, a threshold of 4."""
    from nexus.layers.positional.fire import FIRE

    return Example(drawn(FIRE(4, 8, threshold=4.0), seed, dtype=torch.float32), (7, 7))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Positions below and above the threshold; a negative c; fewer queries than keys."""
    from nexus.layers.positional.fire import FIRE

    for c in (0.4, -0.7):
        ours = drawn(FIRE(3, 8, threshold=5.0), seed)
        with torch.no_grad():
            ours.c.fill_(c)
            ours.threshold_gain.fill_(1.1)
        yield from compare(ours(9, 9), _pairs(ours, 9, 9), parameters(ours), f"c={c}")
        yield from compare(ours(4, 11), _pairs(ours, 4, 11), parameters(ours), f"c={c}, a longer past")


def _pairs(ours: torch.nn.Module, length: int, keys: int) -> torch.Tensor:
    """Eq. 8 for each pair (i, j), the network written out as a sum over its hidden units."""
    p = dict(ours.named_parameters())
    c, longest = p["c"].abs(), (5.0 * p["threshold_gain"]).abs()
    rows = []
    for i in range(keys - length, keys):
        divisor = (c * torch.maximum(torch.tensor(float(i)).double(), longest) + 1).log() + 1e-6
        for j in range(keys):
            share = (c * max(i - j, 0) + 1).log() / divisor
            hidden = (p["net.0.weight"][:, 0] * share + p["net.0.bias"]).clamp(min=0)
            rows.append((p["net.2.weight"] * hidden).sum(-1) + p["net.2.bias"])
    return torch.stack(rows).view(length, keys, -1).permute(2, 0, 1).unsqueeze(0)
