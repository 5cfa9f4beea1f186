"""Data parallel: every process has the whole model and a share of the batch. Paper: arXiv:2006.15704.

The one idea: the gradient of a mean over all processes' samples is the mean of their gradients, so one all-reduce after
backward makes them all take the same step. `DataParallel` here is that idea and nothing more; `distributed` gives
torch's own engine, which overlaps the exchange with backward, and is what the trainer uses.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

BUCKET = 25 * 2**20  # bytes of gradients in one exchange, as in the paper's section 4.2


class DataParallel(nn.Module):
    """Equal weights at the start, equal gradients after `exchange`; works in one process as well.

    Args:
        module: its weights are overwritten with the first process's.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        if dist.is_initialized():
            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor.detach(), 0)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """As the module's own call."""
        return self.module(*inputs, **options)

    @torch.no_grad()
    def exchange(self) -> None:
        """Replace each gradient by its mean over all processes; call it once, after the last backward of a step."""
        if not dist.is_initialized():
            return
        world = dist.get_world_size()
        for bucket in _buckets(p for p in self.module.parameters() if p.requires_grad):
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
            dist.all_reduce(flat)
            for parameter, gradient in zip(bucket, (flat / world).split([p.numel() for p in bucket]), strict=True):
                parameter.grad = gradient.view_as(parameter).clone()


def _buckets(parameters: Iterator[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters of one type that together have about `BUCKET` bytes, in an order that all processes share."""
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and (size >= BUCKET or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel() * parameter.element_size()
    if bucket:
        yield bucket


def distributed(model: nn.Module) -> DistributedDataParallel:
    """The model under torch's `DistributedDataParallel`, in the group that is joined.

    Raises:
        ValueError: no group is joined.
    """
    if not dist.is_initialized():
        raise ValueError("parallel='ddp': no process group; start with torchrun and nexus.training.processes.joined()")
    device = next(model.parameters()).device
    return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


@contextlib.contextmanager
def exchange_only_if(model: nn.Module, last: bool) -> Iterator[None]:
    """Hold the exchange of gradients back until the last batch of a step, under either engine."""
    if isinstance(model, DistributedDataParallel) and not last:
        with model.no_sync():
            yield
        return
    if hasattr(model, "set_requires_gradient_sync"):  # FSDP2
        cast(Any, model).set_requires_gradient_sync(last)
    yield
