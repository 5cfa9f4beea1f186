"""RMSNorm beside torch's, and its (1 + weight) form beside transformers' Gemma."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("torch", "transformers")
TOLERANCE = 1e-6  # Gemma's works in float32
MUTATIONS = (
    Mutation("mean forgotten", ".div_(x.shape[-1])", ""),
    Mutation("epsilon outside of the root", "norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()", "norm.square_().div_(x.shape[-1]).sqrt_().add_(eps).reciprocal_()"),
    Mutation("backward without the length's part", "sub_(normed.mul_(along))", "sub_(0 * normed)"),
    Mutation("weight's gradient of the input", "x, weight, scale = ctx.saved_tensors\n        return *_backward(grads[0], x * scale,", "x, weight, scale = ctx.saved_tensors\n        return *_backward(grads[0], x * 1.0,"),
    Mutation("offset forgotten", "weight = 1 + self.weight if", "weight = self.weight if"),
    Mutation("one token scaled by the sum of squares", "alpha=1 / x.shape[-1]", "alpha=1.0"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Eight channels, and a text."""
    from nexus.layers.components.rms_norm import RMSNorm

    return Example(drawn(RMSNorm(8), seed, dtype=torch.float32), (noise(seed, 2, 7, 8, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """In double precision beside torch, one token without gradients; in single beside Gemma; large and tiny inputs."""
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

    from nexus.layers.components.rms_norm import RMSNorm

    ours, theirs = drawn(RMSNorm(12, eps=1e-3), seed), nn.RMSNorm(12, eps=1e-3).double()
    for size in (1.0, 1e4, 1e-4):
        x = (size * noise(seed, 2, 7, 12)).detach().requires_grad_()
        y = run(theirs, {"weight": ours.weight}, x)
        yield from compare(ours(x), y, {**parameters(ours), "x": x}, f"size {size:g}")
        with torch.no_grad():
            yield Comparison("one token, no gradients", ours(x[:, :1]), y[:, :1])
    ours = drawn(RMSNorm(12, unit_offset=True), seed, dtype=torch.float32)
    x = noise(seed, 2, 7, 12, dtype=torch.float32)
    y = run(GemmaRMSNorm(12), {"weight": ours.weight}, x)
    yield from compare(ours(x), y, {**parameters(ours), "x": x}, "Gemma")
