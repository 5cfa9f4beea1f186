"""Comparing two ways to compute the same thing: outputs, gradients, and memory that nobody wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
ODD_LENGTHS = [1, 2, 63, 64, 65, 127]


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Fill `torch.empty` with NaN, so that reading what was never written shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(1).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def close(ours: Tensor, theirs: Tensor, tolerance: float | None = None) -> None:
    """Equal shapes, and values equal to the tolerance of the type."""
    limit = TOLERANCE[theirs.dtype] if tolerance is None else tolerance
    torch.testing.assert_close(ours, theirs, atol=limit, rtol=limit)


def probe(outputs: Sequence[Tensor]) -> Tensor:
    """A scalar that weighs every element of the outputs differently (same weights for equal shapes)."""
    total = outputs[0].new_zeros(())
    for output in outputs:
        draw = torch.Generator().manual_seed(output.numel())
        total = total + (output * torch.randn(output.shape, generator=draw, dtype=torch.float64).to(output)).sum()
    return total


def with_gradients(fn: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs of `fn`, and the gradients of their probe with respect to each input."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    outputs = list(fn(*leaves))
    return [t.detach() for t in outputs], list(torch.autograd.grad(probe(outputs), leaves))


def parameter_gradients(module: nn.Module, outputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Gradient of the outputs' probe for every parameter; fails where a parameter has none."""
    named = dict(module.named_parameters())
    gradients = torch.autograd.grad(probe(outputs), list(named.values()), allow_unused=True, retain_graph=True)
    lacking = [name for name, gradient in zip(named, gradients, strict=True) if gradient is None]
    assert not lacking, f"no gradient for {lacking}"
    return dict(zip(named, gradients, strict=True))


def all_close(ours: Sequence[Tensor], theirs: Sequence[Tensor], tolerance: float | None = None) -> None:
    """Each pair is close."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        close(one, other, tolerance)


def randomise(module: nn.Module, scale: float = 0.3) -> None:
    """Give every parameter a random value, those that start at one or zero too."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * scale)


def same_gradients(ours: Tensor, theirs: Tensor, inputs: Sequence[Tensor]) -> None:
    """Two outputs have close gradients for every input; large ones, sums over many steps, are compared relatively."""
    one, other = (torch.autograd.grad(probe([y]), inputs, retain_graph=True) for y in (ours, theirs))
    for a, b in zip(one, other, strict=True):
        scale = b.abs().max().clamp(min=1)
        close(a / scale, b / scale)
