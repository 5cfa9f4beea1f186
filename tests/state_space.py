"""What the tests of the state-space layers and hybrids share: the proof, and the equality of a layer's forms."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from tests.numerics import close, same_gradients


def proof_holds(stem: str, seed: int) -> None:
    """Everything that the proof of ``stem`` compares is within its tolerance."""
    proof = import_module(f"nexus.zoo.proofs.{stem}")
    compared = list(proof.prove(seed))
    apart = [f"{c.what}: {c.difference:.1e}" for c in compared if not c.difference <= proof.TOLERANCE]
    assert compared
    assert not apart, apart


def in_parts(layer: Any, x: Tensor, cuts: Sequence[int]) -> tuple[Tensor, Any]:
    """``layer`` over ``x`` cut in pieces, the state handed on."""
    state, outputs = layer.init_state(x.shape[0]), []
    for part in x.split(list(cuts), dim=1):
        y, state = layer(part, state)
        outputs.append(y)
    return torch.cat(outputs, dim=1), state


def forms_agree(layer: nn.Module, x: Tensor, tolerance: float | None = None) -> None:
    """Whole, chunked and one token at a time: the same outputs, the same gradients; and no state unless asked."""
    x.requires_grad_(x.is_floating_point())
    whole, nothing = layer(x)
    assert nothing is None
    length = x.shape[1]
    first = min(max(1, length // 3), length)
    for cuts in ([1] * length, [first, length - first] if length > first else [length]):
        parts, _ = in_parts(layer, x, cuts)
        close(parts, whole, tolerance)
        same_gradients(parts, whole, [*([x] if x.requires_grad else []), *layer.parameters()])


def is_causal(layer: nn.Module, x: Tensor) -> None:
    """What comes later changes nothing before it, bit for bit."""
    cut = x.shape[1] // 2
    with torch.no_grad():
        other = x.clone()
        other[:, cut:] += 1
        one, two = layer(x)[0], layer(other)[0]
    assert torch.equal(one[:, :cut], two[:, :cut])
    assert not torch.equal(one[:, cut:], two[:, cut:])
