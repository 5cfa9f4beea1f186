"""Ring attention over a ring of threads beside scaled_dot_product_attention over the whole sequence."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue
from threading import Thread

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise

ORACLE = ("torch",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("parts not weighed by their sums", "out = out * (log_sum - joined).exp() + part * (part_sum - joined).exp()", "out = out + part * (part_sum - joined).exp()"),
    Mutation("owners counted the wrong way in forward", "owner = (ring.rank - step) % ring.size  #", "owner = (ring.rank + step) % ring.size  #"),
    Mutation("owners counted the wrong way in backward", "owner = (ctx.ring.rank - step) % ctx.ring.size\n", "owner = (ctx.ring.rank + step) % ctx.ring.size\n"),
    Mutation("gradients stay behind", "k, v, dk, dv = ctx.ring.rotate([k, v, dk, dv])  #", "k, v = ctx.ring.rotate([k, v])  #"),
    Mutation("own part not causal", "causal and owner == ring.rank, block)", "False, block)"),
    Mutation("later parts are seen", "if not causal or owner <= ring.rank:", "if True:"),
    Mutation("sum not carried on", "                log_sum = joined\n", ""),
)  # fmt: skip


class ThreadRing:
    """A ring inside one process: the layer cannot tell it from one of processes."""

    def __init__(self, rank: int, boxes: list[Queue[list[Tensor]]]) -> None:
        self.rank, self.size, self.boxes = rank, len(boxes), boxes

    def rotate(self, tensors: list[Tensor]) -> list[Tensor]:
        self.boxes[(self.rank + 1) % self.size].put([t.clone() for t in tensors])
        return self.boxes[self.rank].get(timeout=60)


def example(seed: int = 0) -> Example:
    """A layer of 4 heads in a ring of one, and a text."""
    from nexus.layers.attention.ring import RingAttention

    return Example(
        drawn(RingAttention(16, 4), seed, dtype=torch.float32), (noise(seed, 2, 7, 16, dtype=torch.float32),)
    )


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Rings of 2 and 3 with several tiles, outputs and gradients; a ring's parts side by side are the whole."""
    for size, causal in ((2, False), (3, True)):
        length = 11 * size
        whole = [noise(seed + i, 2, 3, length, 8) for i in range(3)]
        theirs = F.scaled_dot_product_attention(whole[0], whole[1], whole[2], is_causal=causal)
        ours, gradients = _in_threads([t.detach() for t in whole], size, causal, seed)
        what = f"ring of {size}" + ", causal" * causal
        yield from compare(ours, theirs, None, what)
        weighting = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        expected = torch.autograd.grad((theirs * weighting).sum(), whole)
        for name, one, other in zip("qkv", gradients, expected, strict=True):
            yield Comparison(f"gradient of {name} ({what})", one, other)


def _in_threads(whole: list[Tensor], size: int, causal: bool, seed: int) -> tuple[Tensor, list[Tensor]]:
    """Outputs, and gradients of q, k and v under a random weighting, of a ring of threads."""
    from nexus.layers.attention.ring import _Ring

    boxes: list[Queue[list[Tensor]]] = [Queue() for _ in range(size)]
    weighting = torch.randn(whole[0].shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    done: dict[int, list[Tensor]] = {}

    def work(rank: int) -> None:
        q, k, v = (t.chunk(size, dim=2)[rank].clone().requires_grad_() for t in whole)
        y = _Ring.apply(q, k, v, causal, ThreadRing(rank, boxes), 4)
        parts = torch.autograd.grad((y * weighting.chunk(size, dim=2)[rank]).sum(), (q, k, v))
        done[rank] = [y.detach(), *parts]

    threads = [Thread(target=work, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    if len(done) < size:
        raise AssertionError("a process of the ring failed")
    y, *gradients = (torch.cat([done[rank][i] for rank in range(size)], dim=2) for i in range(4))
    return y, gradients
