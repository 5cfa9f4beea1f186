"""The selective scan of Mamba (S6) in three equal forms.

The one idea: every channel has N states that decay and are written at rates which depend on the token. Kept whole the
states are N times as large as the input, so the fast form makes them for a few steps at a time, keeps one state for
each such chunk, and makes the rest again in backward. Paper: Gu and Dao 2023 (arXiv:2312.00752), eq. 2 and section 3.3.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t,      y_t = C_t h_t

Shapes: ``x``, ``dt`` (B, T, D); ``a`` (D, N), negative; ``b``, ``c`` (B, T, N); state (B, N, D).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nexus.layers.ssm.linear_scan import linear_scan_parallel

_LOG2_E = 1.4426950408889634
CHUNK = 16  # steps whose states exist at a time


def selective_scan(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The fast form.

    Returns:
        ``y`` (B, T, D) and the state after the last step.
    """
    state = x.new_zeros(x.shape[0], a.shape[1], a.shape[0]) if state is None else state
    return _SelectiveScan.apply(x, dt, a, b, c, state)


def selective_step(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """One step: ``x``, ``dt`` (B, D); ``b``, ``c`` (B, N)."""
    decay = (dt.unsqueeze(1) * a.t()).exp()
    state = decay * state + (dt * x).unsqueeze(1) * b.unsqueeze(-1)
    return (c.unsqueeze(1) @ state).squeeze(1), state


def selective_scan_recurrent(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence, step after step by automatic differentiation: the truth."""
    state = x.new_zeros(x.shape[0], a.shape[1], a.shape[0]) if state is None else state
    outputs = []
    for xt, dtt, bt, ct in zip(x.unbind(1), dt.unbind(1), b.unbind(1), c.unbind(1), strict=True):
        y, state = selective_step(xt, dtt, a, bt, ct, state)
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


def selective_scan_parallel(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """In log2(T) rounds, all states at once: the form of the paper's section 3.3.1, without its fused kernel."""
    decay, new = _decay(dt, a), (dt * x).unsqueeze(2) * b.unsqueeze(-1)  # (B, T, N, D)
    states = linear_scan_parallel(decay, new, state)
    return (c.unsqueeze(2) @ states).squeeze(2), states[:, -1]


def _decay(dt: Tensor, a: Tensor) -> Tensor:
    """``exp(dt A)`` (..., N, D), by powers of two: torch's exp is slow where results underflow."""
    return (dt.unsqueeze(-2) * (a.t() * _LOG2_E)).exp2()


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor]:
        x, dt, a, b, c, state = args
        y, starts = torch.empty_like(x, memory_format=torch.contiguous_format), [state]
        for (xs, dts, bs, cs), out in zip(_chunks(x, dt, b, c), y.split(CHUNK, dim=1), strict=True):
            _, states = _states(xs, dts, bs, a, starts[-1])
            read = cs.transpose(0, 1).unsqueeze(2) @ states
            out.copy_(read.squeeze(2).transpose(0, 1))
            starts.append(states[-1].clone())
        ctx.save_for_backward(x, dt, a, b, c, torch.stack(starts[:-1]))
        return y, starts[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        x, dt, a, b, c, starts = ctx.saved_tensors
        dy, carried = grads
        made: tuple[list[Tensor], ...] = ([], [], [], [])  # of x, dt, b, c, last chunk first
        da = torch.zeros_like(a.t())
        parts = [*_chunks(x, dt, b, c)]
        for part, dyt, start in zip(reversed(parts), reversed(dy.split(CHUNK, dim=1)), reversed(starts), strict=True):
            xs, dts, bs, cs = part
            *here, da_here, carried = _chunk_backward(xs, dts, bs, cs, a, start, dyt.transpose(0, 1), carried)
            da += da_here
            for gradient, into in zip(here, made, strict=True):
                into.append(gradient.transpose(0, 1))
        dx, ddt, db, dc = (torch.cat(pieces[::-1], dim=1) for pieces in made)
        return dx, ddt, da.t(), db, dc, carried


def _chunks(x: Tensor, dt: Tensor, b: Tensor, c: Tensor) -> Any:
    """The inputs in pieces of `CHUNK` steps."""
    return zip(*(t.split(CHUNK, dim=1) for t in (x, dt, b, c)), strict=True)


def _states(x: Tensor, dt: Tensor, b: Tensor, a: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Decays and states of a chunk, each (Q, B, N, D): time first, so that a step is one block of memory."""
    x, dt, b = x.transpose(0, 1), dt.transpose(0, 1), b.transpose(0, 1)
    decay, states = _decay(dt, a), (dt * x).unsqueeze(2) * b.unsqueeze(-1)
    before = start
    for t in range(len(states)):
        states[t].addcmul_(decay[t], before)
        before = states[t]
    return decay, states


def _chunk_backward(
    x: Tensor, dt: Tensor, b: Tensor, c: Tensor, a: Tensor, start: Tensor, dy: Tensor, carried: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of a chunk's x, dt, b, c (time first), of A (N, D), and of the state before it."""
    decay, states = _states(x, dt, b, a, start)
    x, dt, b, c = (t.transpose(0, 1) for t in (x, dt, b, c))
    dc = (states @ dy.unsqueeze(-1)).squeeze(-1)
    dh = c.unsqueeze(-1) * dy.unsqueeze(2)
    dh[-1] += carried
    for t in reversed(range(1, len(dh))):
        dh[t - 1].addcmul_(decay[t], dh[t])
    carried = dh[0] * decay[0]
    du = (b.unsqueeze(2) @ dh).squeeze(2)  # of u = dt x
    db = (dh @ (dt * x).unsqueeze(-1)).squeeze(-1)
    decay[1:] *= states[:-1]
    decay[0] *= start
    dlog = decay.mul_(dh)  # of the exponent dt A
    ddt = du * x + (dlog * a.t()).sum(2)
    da = (dlog * dt.unsqueeze(2)).sum((0, 1))
    return du * dt, ddt, db, dc, da, carried
