"""Ring attention: one sequence over several processes.

The one idea: each process keeps its own queries and passes keys and values around a ring; parts of a softmax are joined
by the logs of their sums, so after one round every query has seen every key, and no process ever held more than one
other's part. Paper: Liu et al. 2023 (arXiv:2310.01889), algorithm 1; the parts are those of Flash Attention.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable

from nexus.layers.attention.flash import BLOCK, flash_backward, flash_forward
from nexus.layers.attention.multi_head import MultiHeadAttention


class Ring(Protocol):
    """What the layer needs of a group of processes."""

    rank: int
    size: int

    def rotate(self, tensors: list[Tensor]) -> list[Tensor]:
        """Send to the next process, receive the same shapes from the one before."""


class ProcessRing:
    """The ring of a torch.distributed group (gloo, nccl)."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)

    def rotate(self, tensors: list[Tensor]) -> list[Tensor]:
        if self.size == 1:
            return tensors
        into = [torch.empty_like(t, memory_format=torch.contiguous_format) for t in tensors]
        there, back = (self._global((self.rank + step) % self.size) for step in (1, -1))
        work = [dist.P2POp(dist.isend, t.contiguous(), there, self.group) for t in tensors]
        work += [dist.P2POp(dist.irecv, t, back, self.group) for t in into]
        for request in dist.batch_isend_irecv(work):
            request.wait()
        return into

    def _global(self, rank: int) -> int:
        return rank if self.group is None else dist.get_global_rank(self.group, rank)


class RingAttention(MultiHeadAttention):
    """:class:`MultiHeadAttention` over a sequence of which each process holds an equal part, in order.

    Args:
        d_model, n_heads, bias: as in :class:`MultiHeadAttention`.
        ring: the processes; None for a ring of one.
    """

    def __init__(self, d_model: int, n_heads: int, bias: bool = True, ring: Ring | None = None) -> None:
        super().__init__(d_model, n_heads, bias)
        self.ring = ring

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None, causal: bool) -> Tensor:
        if mask is not None or bias is not None:
            raise ValueError("mask, bias: ring attention takes none; use causal=True, or rotary positions")
        if q.shape[-2] != k.shape[-2]:
            raise ValueError(f"{q.shape[-2]} queries, {k.shape[-2]} keys: every process holds equally many of both")
        return _Ring.apply(q, k, v, causal, self.ring or _Alone(), BLOCK)


class _Alone:
    rank, size = 0, 1

    def rotate(self, tensors: list[Tensor]) -> list[Tensor]:
        return tensors


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool, ring: Ring, block: int) -> Tensor:
        out, log_sum = torch.zeros_like(q), q.new_full((*q.shape[:-1], 1), float("-inf"))
        keys, values = k, v
        for step in range(ring.size):
            owner = (ring.rank - step) % ring.size  # whose keys these are
            if not causal or owner <= ring.rank:
                part, part_sum = flash_forward(q, keys, values, None, causal and owner == ring.rank, block)
                joined = torch.logaddexp(log_sum, part_sum)
                out = out * (log_sum - joined).exp() + part * (part_sum - joined).exp()
                log_sum = joined
            if step + 1 < ring.size:
                keys, values = ring.rotate([keys, values])
        ctx.save_for_backward(q, k, v, out, log_sum)
        ctx.causal, ctx.ring, ctx.block = causal, ring, block
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, log_sum = ctx.saved_tensors
        dq, dk, dv = (torch.zeros_like(t) for t in (q, k, v))
        for step in range(ctx.ring.size):
            owner = (ctx.ring.rank - step) % ctx.ring.size
            if not ctx.causal or owner <= ctx.ring.rank:
                diagonal = ctx.causal and owner == ctx.ring.rank
                part = flash_backward(grads[0], q, k, v, None, out, log_sum, diagonal, ctx.block)
                dq, dk, dv = dq + part[0], dk + part[1], dv + part[2]
            k, v, dk, dv = ctx.ring.rotate([k, v, dk, dv])  # the gradients travel with what they belong to
        return dq, dk, dv, None, None, None
