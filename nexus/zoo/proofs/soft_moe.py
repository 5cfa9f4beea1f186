"""Soft mixture of experts beside a loop over slots and tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters

ORACLE = ("torch",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("both means over tokens", "logits.softmax(1), logits.softmax(2)", "logits.softmax(1), logits.softmax(1)"),
    Mutation("dispatch and combine swapped", "dispatch, combine = logits", "combine, dispatch = logits"),
    Mutation("scale forgotten", "self.scale * F.normalize(phi, dim=-1)", "F.normalize(phi, dim=-1)"),
    Mutation("slots not normalised", "self.scale * F.normalize(phi, dim=-1)", "self.scale * phi"),
    Mutation("tokens mixed after normalising", "(dispatch.mT @ x)", "(dispatch.mT @ F.normalize(x, dim=-1))"),
    Mutation("no activation", "F.gelu(by_expert @ self.up.mT)", "(by_expert @ self.up.mT)"),
)


def example(seed: int = 0) -> Example:
    """Four experts of two slots, and a text."""
    from nexus.layers.components.soft_moe import SoftMoE

    return Example(
        drawn(SoftMoE(8, 12, 4, 2), seed, dtype=torch.float32), (noise(seed, 2, 17, 8, dtype=torch.float32),)
    )


def prove(seed: int = 0) -> Iterator[Comparison]:
    """One and two slots, with and without normalisation."""
    from nexus.layers.components.soft_moe import SoftMoE

    x = noise(seed, 2, 7, 8)
    for slots, normalise in ((1, True), (2, True), (2, False)):
        ours = drawn(SoftMoE(8, 12, 3, slots, normalise), seed)
        loop = torch.stack([_slot_by_slot(ours, text, slots, normalise) for text in x])
        what = f"{slots} slots, normalise={normalise}"
        yield from compare(ours(x), loop, {**parameters(ours), "x": x}, what)


def _slot_by_slot(ours: nn.Module, x: Tensor, slots: int, normalise: bool) -> Tensor:
    """Section 2.1, eq. 1 to 3, one slot after the other."""
    phi, up, down = (ours.get_parameter(name) for name in ("phi", "up", "down"))
    places = [(e, s) for e in range(len(up)) for s in range(slots)]
    rows = []
    for token in x:
        match = []
        for e, s in places:
            dot = token @ phi[e, s]
            match.append(dot * ours.get_parameter("scale") / token.norm() / phi[e, s].norm() if normalise else dot)
        rows.append(torch.stack(match))
    logits = torch.stack(rows)  # (T, E S)
    weights = logits.exp()
    out = torch.zeros_like(x)
    for number, (e, _) in enumerate(places):
        slot = (weights[:, number : number + 1] / weights[:, number].sum() * x).sum(0)
        hidden = up[e] @ slot
        answer = down[e] @ (hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))))
        out = out + weights[:, number : number + 1] / weights.sum(1, keepdim=True) * answer
    return out
