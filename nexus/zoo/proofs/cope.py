"""CoPE beside x-transformers."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, oracle, parameters, run

ORACLE = ("x-transformers",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("counted from the first key", "gates.flip(-1).cumsum(-1).flip(-1)", "gates.cumsum(-1)"),
    Mutation("gates by softmax", "scores.sigmoid()", "scores.softmax(-1)"),
    Mutation("nearest whole position", "share = position - low", "share = (position - low).round()"),
    Mutation(
        "neighbours swapped",
        "(1 - share) + whole.gather(-1, high) * share",
        "share + whole.gather(-1, high) * (1 - share)",
    ),
    Mutation("counted one further", "clamp(max=self.max_position - 1)\n\n", "clamp(max=self.max_position - 2)\n\n"),
    Mutation(
        "gates get no gradient", "position = self.positions(scores)", "position = self.positions(scores.detach())"
    ),
)


def example(seed: int = 0) -> Example:
    """Two heads, seven queries and keys, five positions."""
    from nexus.layers.positional.cope import CoPE

    q, scores = noise(seed, 2, 2, 7, 8, dtype=torch.float32), noise(seed + 1, 2, 2, 7, 7, dtype=torch.float32)
    return Example(drawn(CoPE(8, 5), seed, dtype=torch.float32), (q, scores))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Causal scores, more keys than positions, so that the last is reached."""
    from nexus.layers.positional.cope import CoPE

    ours, theirs = drawn(CoPE(8, 5), seed), oracle("x_transformers.x_transformers").CoPE(8, 2, 5).double()
    q, raw = noise(seed, 2, 2, 13, 8), noise(seed + 1, 2, 2, 13, 13)
    scores = raw.masked_fill(torch.ones(13, 13, dtype=torch.bool).triu(1), float("-inf"))
    y = run(theirs, {"pos_emb": ours.weight}, q, scores)
    yield from compare(ours(q, scores), y, {**parameters(ours), "q": q, "scores": raw}, "output")
