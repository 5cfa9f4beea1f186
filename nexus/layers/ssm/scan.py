"""The chunked scan as one hand-written operation: few passes over memory forward, and a backward that recomputes.

The one idea: on a CPU the scan's matrix products are cheap and its passes over memory are not, so step sizes and skip
go into the matrix that is made anyway, results go where something no longer needed was, and of what lies between only
the states before the chunks are kept.

Sizes: C chunks of Q steps; G groups of R heads, H = G R; P channels of a head, N numbers of state for each. A "batch"
is the first dimension of ``bmm``, (C B G) or (C B H): chunks first, so that all but the first or last are one slice.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_LOG2_E = 1.4426950408889634


class _Factors(NamedTuple):
    """What forward and backward both need from the step sizes and decays."""

    read: Tensor  # (B, C, Q, H): decay from the chunk's start to each step, its own included
    write: Tensor  # (B, C, Q, H): step size times decay from each step to the chunk's end
    mix: Tensor  # (C, B, G, R, Q, Q): how much of input j is seen at step i >= j, by decay and step size alone
    carry: Tensor  # (C, B, G, 1, R, 1): decay over the chunk


def scan(
    x: Tensor, step: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, skip: Tensor, state: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """``h_t = exp(log_decay_t) h_{t-1} + B_t (step_t x_t)^T``, ``y_t = C_t h_t + skip x_t``.

    Args:
        x: (B, T, H, P), T a multiple of ``chunk``. log_decay: (B, T, H). b, c: (B, T, G, N). state: (B, H, N, P).
        step: (B, T, H), not negative; where it is 0 (padding) it gets no gradient. skip: (H,).

    Returns:
        ``y`` (B, T, H, P) and the state after the last step.
    """
    with torch.autocast(x.device.type, enabled=False):  # it would take the products below in half precision
        return _Scan.apply(x, step, log_decay, b, c, skip, state, chunk)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, Tensor]:
        *inputs, state, chunk = args
        y, states = _forward(*inputs, state, chunk)
        ctx.chunk = chunk
        ctx.save_for_backward(*inputs, states)
        return y, _to_heads(states[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*_backward(*ctx.saved_tensors, *grads, ctx.chunk), None)


# Custom operations, so that torch.compile takes both as they are: it could not trace results written into views.
@torch.library.custom_op("nexus::scan_forward", mutates_args=())
def _forward(
    x: Tensor, step: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, skip: Tensor, state: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """``y`` (B, T, H, P) and the states (C + 1, B, G, N, R, P) before each chunk and after the last."""
    groups, n = b.shape[2:]
    factors = _factors(step, log_decay, chunk, groups)
    rows, columns, inputs = (_to_batch(t, chunk) for t in (b, c, x))
    # 1. Inside a chunk: the quadratic form, with the skip on its diagonal.
    scores = torch.bmm(columns, rows.mT).view(*factors.carry.shape[:3], chunk, chunk)  # shared by a group's heads
    inside = torch.bmm(_mix(scores, factors.mix, skip), inputs)
    # 2. What each chunk adds to the state, and 3. the recurrence over chunks, in place.
    weighted = _weigh(x, factors.write, groups)
    chunks = x.shape[1] // chunk
    states = x.new_empty(chunks + 1, x.shape[0], groups, n, x.shape[2] // groups, x.shape[3])
    states[0] = _to_groups(state, groups)
    torch.bmm(rows.mT, weighted, out=_matrices(states[1:]))
    for i in range(chunks):
        states[i + 1].addcmul_(states[i], factors.carry[i])
    # 4. What the state before a chunk gives to its outputs.
    carried = torch.bmm(columns, _matrices(states[:-1]), out=weighted)
    return _join(inside, carried, factors.read, groups, out=inputs.view(x.shape)), states


@_forward.register_fake
def _forward_shapes(
    x: Tensor, step: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, skip: Tensor, state: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    (batch, length, heads, width), (groups, n) = x.shape, b.shape[2:]
    return x.new_empty(x.shape), x.new_empty(length // chunk + 1, batch, groups, n, heads // groups, width)


@torch.library.custom_op("nexus::scan_backward", mutates_args=())
def _backward(
    x: Tensor, step: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, skip: Tensor, states: Tensor, dy: Tensor,
    dfinal: Tensor, chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of every input of :func:`_forward`.

    ``s_i``, the sum of logarithms up to step i of a chunk, is a factor ``exp(s_i)`` of all that step i takes from
    earlier steps (``taken``), ``exp(-s_i)`` of all it gives to later ones (``given``), and at the chunk's end a factor
    of the state handed on; so its gradient is a difference of inner products. What a step gives itself is left out.
    """
    groups = b.shape[2]
    factors = _factors(step, log_decay, chunk, groups)
    rows, columns, inputs, outputs = (_to_batch(t, chunk) for t in (b, c, x, dy))
    before, by_head = _matrices(states[:-1]), (*factors.carry.shape[:3], chunk, *states.shape[4:])
    # The states' gradients, from the last chunk back.
    read = _weigh(dy, factors.read, groups)
    dstates = torch.empty_like(states)
    dstates[-1] = _to_groups(dfinal, groups)
    torch.bmm(columns.mT, read, out=_matrices(dstates[:-1]))
    ends = x.new_empty(factors.carry.shape)
    for i in reversed(range(len(ends))):
        ends[i] = (states[i] * dstates[i + 1]).sum(-1, keepdim=True).sum(2, keepdim=True)
        dstates[i].addcmul_(dstates[i + 1], factors.carry[i])
    after = _matrices(dstates[1:])
    # Inside a chunk. Results go where something no longer needed was: fresh memory is slow.
    dmix = torch.bmm(outputs, inputs.mT).view(factors.mix.shape)
    dskip = dmix.diagonal(dim1=-2, dim2=-1).sum((0, 1, 4)).flatten()
    dscores = dmix.mul_(factors.mix).sum(3)
    scores = torch.bmm(columns, rows.mT).view(dscores.shape)
    mix = _mix(scores, factors.mix, skip)
    inside = torch.bmm(mix.mT, outputs, out=inputs)
    shares = dmix.mul_(scores.unsqueeze(3))
    own = shares.diagonal(dim1=-2, dim2=-1).clone()  # (C, B, G, R, Q)
    shares.diagonal(dim1=-2, dim2=-1).zero_()
    taken, given = shares.sum(-1), shares.sum(-2)
    # By way of the states.
    carried = torch.bmm(columns, before, out=outputs.view(read.shape))
    taken += carried.mul_(read).view(by_head).sum(-1).mT
    carried = torch.bmm(rows, after, out=carried)
    dx = _join(inside, carried, factors.write, groups, out=torch.empty_like(x, memory_format=torch.contiguous_format))
    weighted = _weigh(x, factors.write, groups, out=inputs)
    to_state = carried.mul_(weighted).view(by_head).sum(-1).mT
    given += to_state
    dscores = dscores.view(-1, chunk, chunk)
    dc = torch.baddbmm(torch.bmm(read, before.mT), dscores, rows)
    db = torch.baddbmm(torch.bmm(weighted, after.mT), dscores.mT, columns)
    # Step sizes and decays.
    dtotal = taken - given
    dtotal[..., -1] += (ends * factors.carry).view(own.shape[:-1]) + to_state.sum(-1)
    dlog = dtotal.flip(-1).cumsum(-1).flip(-1)
    dstep, dlog = (t.permute(1, 0, 4, 2, 3).reshape(step.shape).contiguous() for t in (given.add_(own), dlog))
    dstep = dstep / step.clamp(min=torch.finfo(step.dtype).tiny)
    return dx, dstep, dlog, _from_batch(db, b.shape), _from_batch(dc, c.shape), dskip, _to_heads(dstates[0])


@_backward.register_fake
def _backward_shapes(
    x: Tensor, step: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, skip: Tensor, states: Tensor, dy: Tensor,
    dfinal: Tensor, chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    dx, dstep, dlog, db, dc, dskip, dstate = (t.new_empty(t.shape) for t in (x, step, log_decay, b, c, skip, dfinal))
    return dx, dstep, dlog, db, dc, dskip, dstate


def _factors(step: Tensor, log_decay: Tensor, chunk: int, groups: int) -> _Factors:
    """In powers of two, because torch's ``exp`` takes 100 times as long (measured) where the result underflows."""
    # Sums of logarithms in half precision are off by up to 1 (measured), so they are kept in float32 at least.
    narrow, wide = log_decay.dtype, torch.promote_types(log_decay.dtype, torch.float32)
    total = (log_decay.to(wide) * _LOG2_E).unflatten(1, (-1, chunk)).cumsum(2)  # (B, C, Q, H)
    step = step.view(total.shape)
    read, write = total.exp2().to(narrow), (total[:, :, -1:] - total).exp2_().mul_(step).to(narrow)
    carry = read[:, :, -1].transpose(0, 1).unflatten(2, (groups, 1, -1, 1))
    total, step = (t.permute(1, 0, 3, 2).unflatten(2, (groups, -1)).contiguous() for t in (total, step))
    mix = (total.unsqueeze(-1) - total.unsqueeze(-2)).exp2_().tril_()  # above the diagonal inf may come and go
    return _Factors(read, write, mix.mul_(step.unsqueeze(-2)), carry)


def _mix(scores: Tensor, factors: Tensor, skip: Tensor) -> Tensor:
    """The chunks' matrices (C B H, Q, Q): scores times ``factors``, skip on the diagonal; uses up ``factors``."""
    mix = torch.mul(scores.unsqueeze(3), factors, out=factors if factors.dtype == scores.dtype else factors.to(scores))
    mix.diagonal(dim1=-2, dim2=-1).add_(skip.view(scores.shape[2], -1, 1))
    return mix.view(-1, *mix.shape[4:])


def _weigh(x: Tensor, by: Tensor, groups: int, out: Tensor | None = None) -> Tensor:
    """``x`` (B, T, H, P) times ``by`` (B, C, Q, H) as (C B G, Q, R P): one product then serves a group's heads."""
    x, by = (t.unflatten(3, (groups, -1)).permute(1, 0, 3, 2, 4, 5) for t in (x.view(*by.shape, -1), by.unsqueeze(-1)))
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device) if out is None else out.view(x.shape)
    return torch.mul(x, by, out=out).view(-1, x.shape[3], x.shape[4] * x.shape[5])


def _join(inside: Tensor, carried: Tensor, by: Tensor, groups: int, out: Tensor) -> Tensor:
    """``inside`` (C B H, Q, P) plus ``carried`` (C B G, Q, R P) times ``by`` (B, C, Q, H), in ``out`` (B, T, H, P)."""
    batch, chunks, chunk, heads = by.shape
    ratio = heads // groups
    torch.addcmul(
        inside.view(chunks, batch, groups, ratio, chunk, -1).permute(1, 0, 4, 2, 3, 5),
        carried.view(chunks, batch, groups, chunk, ratio, -1).permute(1, 0, 3, 2, 4, 5),
        by.view(batch, chunks, chunk, groups, ratio, 1),
        out=out.view(batch, chunks, chunk, groups, ratio, -1),
    )
    return out


def _to_batch(x: Tensor, chunk: int) -> Tensor:
    """(B, T, H, P) to (C B H, Q, P), always a copy."""
    x = x.unflatten(1, (-1, chunk)).permute(1, 0, 3, 2, 4)
    return x.clone(memory_format=torch.contiguous_format).view(-1, chunk, x.shape[4])


def _from_batch(x: Tensor, shape: torch.Size) -> Tensor:
    """(C B G, Q, N) back to ``shape`` (B, T, G, N)."""
    return x.view(-1, shape[0], shape[2], *x.shape[1:]).permute(1, 0, 3, 2, 4).reshape(shape).contiguous()


def _matrices(states: Tensor) -> Tensor:
    """(C, B, G, N, R, P) as (C B G, N, R P)."""
    return states.view(-1, states.shape[3], states.shape[4] * states.shape[5])


def _to_groups(state: Tensor, groups: int) -> Tensor:
    """(B, H, N, P) to (B, G, N, R, P)."""
    return state.unflatten(1, (groups, -1)).transpose(2, 3)


def _to_heads(state: Tensor) -> Tensor:
    """(B, G, N, R, P) to (B, H, N, P), a copy."""
    return state.transpose(2, 3).clone(memory_format=torch.contiguous_format).flatten(1, 2)
