"""AdaLN-Zero beside diffusers' DiT norm."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, oracle, parameters, run

ORACLE = ("diffusers",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("scale without the one", "1 + by.scale", "by.scale"),
    Mutation("no activation before the projection", "self.proj(F.silu(condition))", "self.proj(condition)"),
    Mutation(
        "shift and scale swapped", "    shift: Tensor\n    scale: Tensor\n", "    scale: Tensor\n    shift: Tensor\n"
    ),
    Mutation("branches dealt out in turn", "parts[3 * i : 3 * i + 3]", "parts[i :: self.branches]"),
    Mutation("epsilon of LayerNorm's default", "eps=self.eps", "eps=1e-2"),
)


def example(seed: int = 0) -> Example:
    """Width 8, a condition of 8."""
    from nexus.layers.components.ada_ln_zero import AdaLNZero

    return Example(drawn(AdaLNZero(8), seed, dtype=torch.float32), (noise(seed, 2, 8, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Both branches: the normed input, and the shift, scale and gates that the block goes on with."""
    from nexus.layers.components.ada_ln_zero import AdaLNZero

    ours, x, condition = drawn(AdaLNZero(8), seed), noise(seed, 2, 7, 8), noise(seed + 1, 2, 8)
    weights = {f"linear.{name}": value for name, value in ours.proj.named_parameters()}
    y, gate, shift, scale, last_gate = run(
        oracle("diffusers.models.normalization").AdaLayerNormZero(8).double(), weights, x, emb=condition
    )
    attention, feed_forward = ours(condition)
    leaves = {**parameters(ours), "x": x, "condition": condition}
    yield from compare(ours.norm(x, attention), y, leaves, "normed")
    theirs = torch.cat((gate, shift, scale, last_gate), dim=-1)
    mine = torch.cat((attention.gate, feed_forward.shift, feed_forward.scale, feed_forward.gate), dim=-1).squeeze(1)
    yield from compare(mine, theirs, leaves, "modulations")
