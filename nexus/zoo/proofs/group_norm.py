"""Group normalisation beside torch's."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("torch",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("sample variance", "correction=0", "correction=1"),
    Mutation("channels dealt out to groups in turn", "x.reshape(len(x), self.n_groups, -1)", "x.unflatten(1, (-1, self.n_groups)).transpose(1, 2).reshape(len(x), self.n_groups, -1)"),
    Mutation("epsilon forgotten", "(variance + eps)", "(variance + 0 * eps)"),
    Mutation("mean's part forgotten in backward", "(grad - grad.mean(-1, keepdim=True))", "(grad * 1.0)"),
    Mutation("stretch's part forgotten in backward", ".sub_(y.mul_(along))", ""),
    Mutation("weight and bias swapped", "torch.addcmul(self.bias.view(shape), y, self.weight.view(shape))", "torch.addcmul(self.weight.view(shape), y, self.bias.view(shape))"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Six channels in three groups, and a picture."""
    from nexus.layers.components.group_norm import GroupNorm

    return Example(drawn(GroupNorm(3, 6), seed, dtype=torch.float32), (noise(seed, 2, 6, 5, 4, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Pictures, rows and vectors; from one group to one for each channel, which is InstanceNorm; without weights."""
    from nexus.layers.components.group_norm import GroupNorm

    for groups, shape in ((1, (3, 6, 5, 4)), (3, (3, 6, 5, 4)), (6, (3, 6, 5)), (2, (3, 6))):
        ours, theirs = drawn(GroupNorm(groups, 6, eps=1e-3), seed), nn.GroupNorm(groups, 6, eps=1e-3).double()
        x = noise(seed, *shape)
        y = run(theirs, parameters(ours), x)
        yield from compare(ours(x), y, {**parameters(ours), "x": x}, f"{groups} groups of {shape}")
        if groups == 6:
            plain = GroupNorm(6, 6, affine=False)
            yield from compare(plain(x), nn.functional.instance_norm(x), {"x": x}, "InstanceNorm")
