"""Batch normalisation beside torch's: both forms, in training and in use, and the averages between them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("torch",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("variance of a sample in the norm", "correction=0", "correction=1"),
    Mutation("averages of the biased variance", "(variance * count / (count - 1))", "(variance * 1.0)"),
    Mutation("momentum of the old share", "mean.to(self.running_mean.dtype), self.momentum", "mean.to(self.running_mean.dtype), 1 - self.momentum"),
    Mutation("the batch's statistics in use too", "        if not self.training:\n            return self.running_mean", "        if not self.channels:\n            return self.running_mean"),
    Mutation("a norm for each sample", ".transpose(0, 1).flatten(1)", "[:1].transpose(0, 1).flatten(1)"),
    Mutation("variance detached", "torch.rsqrt(variance + eps)", "torch.rsqrt(variance.detach() + eps)"),
    Mutation("epsilon forgotten", "torch.rsqrt(variance + eps)", "torch.rsqrt(variance)"),
    Mutation("fused form always in training", "self.training, self.momentum, self.eps", "True, self.momentum, self.eps"),
    Mutation("fused form with torch's own eps", "self.training, self.momentum, self.eps", "self.training, self.momentum"),
    Mutation("weight and bias swapped", "torch.addcmul(self.bias.view(shape), y, self.weight.view(shape))", "torch.addcmul(self.weight.view(shape), y, self.bias.view(shape))"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Six channels, and a picture."""
    from nexus.layers.components.batch_norm import BatchNorm

    return Example(drawn(BatchNorm(6), seed, dtype=torch.float32), (noise(seed, 2, 6, 5, 4, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Three steps of training, after which the averages serve; vectors, rows and pictures, with and without weights."""
    from nexus.layers.components.batch_norm import BatchNorm

    kinds = {(5, 6): nn.BatchNorm1d, (3, 6, 4): nn.BatchNorm1d, (2, 6, 3, 4): nn.BatchNorm2d}
    for shape, kind in kinds.items():
        for fused in (False, True):
            for affine in (False, True):
                what = f"{shape}, fused={fused}, affine={affine}"
                ours = drawn(BatchNorm(6, eps=1e-3, momentum=0.2, affine=affine, fused=fused), seed)
                theirs = kind(6, eps=1e-3, momentum=0.2, affine=affine).double()
                for step in range(3):
                    x = noise(seed + step, *shape)
                    leaves = {**parameters(ours), "x": x}
                    yield from compare(ours(x), run(theirs, parameters(ours), x), leaves, what)
                yield Comparison(f"mean, {what}", ours.running_mean, theirs.get_buffer("running_mean"))
                yield Comparison(f"variance, {what}", ours.running_var, theirs.get_buffer("running_var"))
                y = run(theirs.eval(), parameters(ours), x)
                yield from compare(ours.eval()(x), y, leaves, f"in use, {what}")
