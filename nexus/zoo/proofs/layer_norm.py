"""LayerNorm beside torch.nn.LayerNorm: both forms, with and without bias, far from zero too."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation, compare_gradients

ORACLE = ("torch",)
TOLERANCE = 1e-12
OFFSETS = (0.0, 1e3)  # where the mean is large, a variance from squares and squared mean cancels out
MUTATIONS = (
    Mutation("mean not taken off", "wide - wide.mean(-1, keepdim=True)", "wide"),
    Mutation("mean over the positions", "wide.mean(-1, keepdim=True)", "wide.mean(-2, keepdim=True)"),
    Mutation(
        "variance of a sample (n - 1)",
        "centred.square().mean(-1, keepdim=True)",
        "centred.square().sum(-1, keepdim=True) / (x.shape[-1] - 1)",
    ),
    Mutation(
        "variance as mean of squares less squared mean",
        "centred.square().mean(-1, keepdim=True)",
        "wide.square().mean(-1, keepdim=True) - wide.mean(-1, keepdim=True).square()",
    ),
    Mutation("variance detached", "centred.square().mean", "centred.detach().square().mean"),
    Mutation("eps outside the root", "torch.rsqrt(variance + eps)", "1 / (variance.sqrt() + eps)"),
    Mutation("eps forgotten", "torch.rsqrt(variance + eps)", "torch.rsqrt(variance)"),
    Mutation("scale forgotten", "normed.to(x.dtype) * weight", "normed.to(x.dtype)"),
    Mutation("bias before the scale", "scaled + bias", "scaled + bias * weight"),
    Mutation("fused form with torch's own eps", "self.bias, self.eps)\n        return", "self.bias)\n        return"),
)


def example(seed: int = 0) -> Example:
    """A norm over 6 features of 2 x 5 positions."""
    from nexus.layers.components.layer_norm import LayerNorm

    return Example(_randomised(LayerNorm(6), seed), (_input(seed, 0.0),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Outputs, and the gradients of input, scale and bias."""
    from nexus.layers.components.layer_norm import LayerNorm

    for fused in (False, True):
        for bias in (True, False):
            for offset in OFFSETS:
                ours = _randomised(LayerNorm(6, eps=1e-3, bias=bias, fused=fused), seed).double()
                theirs = nn.LayerNorm(6, eps=1e-3, bias=bias).double()
                theirs.load_state_dict(ours.state_dict())
                x, y = (_input(seed, offset).double().requires_grad_() for _ in range(2))
                names = ("weight", "bias") if bias else ("weight",)
                yield from compare_gradients(ours, ours(x), theirs, theirs(y), [(n, n) for n in names], seed)
                yield Comparison("gradient of the input", _gradient(x), _gradient(y))


def peers(example: Example) -> dict[str, nn.Module]:
    """What `nexus zoo bench` times beside ours."""
    from nexus.layers.components.layer_norm import LayerNorm

    (dim,) = example.module.get_parameter("weight").shape
    return {"torch.nn.LayerNorm": nn.LayerNorm(dim), "the formula (fused=False)": LayerNorm(dim, fused=False)}


def large() -> Example:
    """The size for `nexus zoo bench`: 8 x 512 positions of 512 features."""
    from nexus.layers.components.layer_norm import LayerNorm

    return Example(LayerNorm(512), (torch.randn(8, 512, 512, requires_grad=True),))


def _randomised(norm: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    return norm


def _input(seed: int, offset: float) -> Tensor:
    return torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(seed + 1)) + offset


def _gradient(x: Tensor) -> Tensor:
    assert x.grad is not None
    return x.grad
