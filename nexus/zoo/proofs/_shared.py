"""What the proofs of layers share: drawn weights, another module run on ours, and the comparison itself.

The one idea: give the oracle weights that are functions of ours, through autograd. Then every layout (fused, split,
permuted) is one line of the bridge, and gradients of both sides arrive at the same tensors, under our names.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nexus.zoo.proof import Comparison

Module = TypeVar("Module", bound=nn.Module)


def drawn(module: Module, seed: int, scale: float = 0.3, dtype: torch.dtype = torch.float64) -> Module:
    """The module with every parameter drawn anew; constants (norm weights, zero biases) get noise on top."""
    generator = torch.Generator().manual_seed(1_000 + seed)
    module = module.to(dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            start = parameter.flatten()[0].clone() if bool((parameter == parameter.flatten()[0]).all()) else 0.0
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(start + scale * noise)
    return module


def oracle(name: str) -> Any:
    """An oracle's module, whose own deprecated calls at import are not our concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


def noise(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """A leaf of normal draws that wants a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def run(theirs: nn.Module, weights: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Any:
    """Call an oracle on ``weights``, which must name every parameter that it has."""
    lacking = {name for name, _ in theirs.named_parameters()} - set(weights)
    if lacking:
        raise AssertionError(f"the bridge gives no {', '.join(sorted(lacking))}")
    return functional_call(theirs, dict(weights), args, kwargs)


def compare(
    ours: Tensor, theirs: Tensor, leaves: Mapping[str, Tensor] | None = None, what: str = "output", seed: int = 0
) -> Iterator[Comparison]:
    """Two outputs of the same leaves, and the gradients of all leaves under one random weighting of the outputs.

    A gradient that never arrives counts as zeros, so that a forgotten path shows as a difference.
    """
    yield Comparison(what, ours, theirs)
    if not leaves or ours.shape != theirs.shape:
        return
    weighting = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = [_gradients(out, weighting, list(leaves.values())) for out in (ours, theirs)]
    for name, one, other in zip(leaves, *found, strict=True):
        yield Comparison(f"gradient of {name} ({what})", one, other)


def _gradients(out: Tensor, weighting: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Of the weighted sum of ``out``; zeros where none arrives."""
    if not out.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad((out * weighting.to(out)).sum(), leaves, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True)]


def parameters(module: nn.Module) -> dict[str, Tensor]:
    """The parameters of a module by name, as leaves."""
    return dict(module.named_parameters())
