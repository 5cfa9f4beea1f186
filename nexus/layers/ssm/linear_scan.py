"""First-order linear recurrence over time, element by element, in three equal forms.

The one idea: ``h_t = a_t h_{t-1} + b_t`` is a product of affine maps, and products may be bracketed at will, so the
steps can be taken one by one, or in log2(T) rounds that each double how far every position looks back (Blelloch 1990;
for S5: arXiv:2208.04933). On a CPU the loop wins, if automatic differentiation is kept out of it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def linear_scan(a: Tensor, b: Tensor, state: Tensor | None = None) -> Tensor:
    """All states of ``h_t = a_t h_{t-1} + b_t``, fast: one multiply-add a step, and a backward written by hand.

    Args:
        a, b: (B, T, ...) of one shape, real or complex. state: (B, ...), h before the first step; None is zeros.

    Returns:
        h (B, T, ...).
    """
    start = torch.zeros_like(b[:, 0]) if state is None else state
    return _LinearScan.apply(a, b, start)


def linear_scan_recurrent(a: Tensor, b: Tensor, state: Tensor | None = None) -> Tensor:
    """The same, step after step by automatic differentiation: the truth."""
    h = torch.zeros_like(b[:, 0]) if state is None else state
    states = []
    for decay, new in zip(a.unbind(1), b.unbind(1), strict=True):
        h = decay * h + new
        states.append(h)
    return torch.stack(states, dim=1)


def linear_scan_parallel(a: Tensor, b: Tensor, state: Tensor | None = None) -> Tensor:
    """The same in log2(T) rounds over the whole length: the form for machines with thousands of units."""
    if state is not None:
        b = torch.cat(((b[:, 0] + a[:, 0] * state).unsqueeze(1), b[:, 1:]), dim=1)
    reach = 1
    while reach < b.shape[1]:
        head_b, head_a = b[:, :reach], a[:, :reach]
        b = torch.cat((head_b, b[:, reach:] + a[:, reach:] * b[:, :-reach]), dim=1)
        a = torch.cat((head_a, a[:, reach:] * a[:, :-reach]), dim=1)
        reach *= 2
    return b


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, state: Tensor) -> Tensor:
        h = torch.empty_like(b, memory_format=torch.contiguous_format)
        before = state
        for decay, new, out in zip(a.unbind(1), b.unbind(1), h.unbind(1), strict=True):
            torch.addcmul(new, decay, before, out=out)
            before = out
        ctx.save_for_backward(a, h, state)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, h, state = ctx.saved_tensors
        a = a.conj().resolve_conj()
        db = grads[0].clone(memory_format=torch.contiguous_format)  # of h_t, and so of b_t
        for t in reversed(range(1, db.shape[1])):
            db[:, t - 1].addcmul_(a[:, t], db[:, t])
        da = torch.empty_like(db)
        torch.mul(db[:, 1:], h[:, :-1].conj(), out=da[:, 1:])
        torch.mul(db[:, 0], state.conj(), out=da[:, 0])
        return da, db, a[:, 0] * db[:, 0]
