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


def decodes_as_it_trains(model: Any, vocab_size: int = 97) -> None:
    """A language model: whole, in pieces and token by token give the same logits; the future changes nothing."""
    model = model.double().eval()
    ids = torch.randint(0, vocab_size, (2, 13))
    with torch.no_grad():
        whole = model(ids)
        assert whole.state is None
        for cuts in ([1] * 13, [5, 1, 7], [12, 1]):
            state, pieces = model.init_state(2), []
            for piece in ids.split(cuts, dim=1):
                out = model(piece, state=state)
                state = out.state
                pieces.append(out.logits)
            close(torch.cat(pieces, dim=1), whole.logits, 1e-9)
        other = ids.clone()
        other[:, 7:] = (other[:, 7:] + 1) % vocab_size
        close(model(other).logits[:, :7], whole.logits[:, :7], 1e-12)


def learns(model: Any, vocab_size: int = 97, steps: int = 30) -> None:
    """A few steps on one text bring its loss down by half, and every parameter moves."""
    ids = torch.randint(0, vocab_size, (2, 16))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0], losses
    still = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    assert not still, still
