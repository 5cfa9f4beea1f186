"""Dynamic Tanh beside x-transformers, and beside its formula by exponentials."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, oracle, parameters, run

ORACLE = ("x-transformers", "torch")
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("alpha outside", "(self.alpha * x).tanh()", "self.alpha * x.tanh()"),
    Mutation("bias inside", "torch.addcmul(self.bias, (self.alpha * x).tanh(), self.weight)", "(self.alpha * x + self.bias).tanh() * self.weight"),
    Mutation("weight forgotten", "(self.alpha * x).tanh(), self.weight)", "(self.alpha * x).tanh(), torch.ones_like(self.weight))"),
    Mutation("sigmoid instead", ".tanh()", ".sigmoid()"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Eight channels, and a text."""
    from nexus.layers.components.dynamic_tanh import DynamicTanh

    return Example(drawn(DynamicTanh(8), seed, dtype=torch.float32), (noise(seed, 2, 7, 8, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Both; the formula is ``(e^2u - 1) / (e^2u + 1)``."""
    from nexus.layers.components.dynamic_tanh import DynamicTanh

    ours, x = drawn(DynamicTanh(8), seed), noise(seed, 2, 7, 8)
    weights = {"pre_tanh_scale": ours.alpha, "gamma": ours.weight, "beta": ours.bias}
    leaves = {**parameters(ours), "x": x}
    yield from compare(
        ours(x),
        run(oracle("x_transformers.x_transformers").DynamicTanh(8).double(), weights, x),
        leaves,
        "x-transformers",
    )
    twice = (2 * ours.alpha * x).exp()
    yield from compare(ours(x), ours.weight * (twice - 1) / (twice + 1) + ours.bias, leaves, "formula")
