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
    Mutation("channels dealt out to groups in turn", ".reshape(len(x), n_groups, -1)", ".unflatten(1, (-1, n_groups)).transpose(1, 2).reshape(len(x), n_groups, -1)"),
    Mutation("epsilon forgotten", "torch.rsqrt(variance + eps)", "torch.rsqrt(variance)"),
    Mutation("mean not taken off", "(grouped - mean)", "grouped"),
    Mutation("variance detached", "torch.rsqrt(variance + eps)", "torch.rsqrt(variance.detach() + eps)"),
    Mutation("weight and bias swapped", "torch.addcmul(bias.view(shape), y, weight.view(shape))", "torch.addcmul(weight.view(shape), y, bias.view(shape))"),
    Mutation("fused form with torch's own eps", "return norm(x, self.n_groups, self.weight, self.bias, self.eps)", "return norm(x, self.n_groups, self.weight, self.bias, 1e-5)"),
    Mutation("groups and channels swapped", "norm(x, self.n_groups,", "norm(x, self.channels,"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Six channels in three groups, and a picture."""
    from nexus.layers.components.group_norm import GroupNorm

    return Example(drawn(GroupNorm(3, 6), seed, dtype=torch.float32), (noise(seed, 2, 6, 5, 4, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Pictures, rows and vectors; from one group to one for each channel, which is InstanceNorm; without weights."""
    from nexus.layers.components.group_norm import GroupNorm

    for fused in (False, True):
        for groups, shape in ((1, (3, 6, 5, 4)), (3, (3, 6, 5, 4)), (6, (3, 6, 5)), (2, (3, 6))):
            ours = drawn(GroupNorm(groups, 6, eps=1e-3, fused=fused), seed)
            x = noise(seed, *shape)
            y = run(nn.GroupNorm(groups, 6, eps=1e-3).double(), parameters(ours), x)
            yield from compare(ours(x), y, {**parameters(ours), "x": x}, f"{groups} groups of {shape}, fused={fused}")
            if groups == 6:
                plain = GroupNorm(6, 6, affine=False, fused=fused)
                yield from compare(plain(x), nn.functional.instance_norm(x), {"x": x}, f"InstanceNorm, fused={fused}")
