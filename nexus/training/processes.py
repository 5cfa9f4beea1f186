"""The processes that train one model together: who we are, and what is agreed between all.

The one idea: without `torchrun` there is one process and every call here is free; with it, the same code runs in each.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """Our place among the processes."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether we are the one that writes files and speaks."""
        return self.rank == 0

    def replica(self, size: int) -> Processes:
        """Our place among copies of the model that ``size`` neighbours each hold together.

        Raises:
            ValueError: the processes are no multiple of that.
        """
        if self.world % size:
            count = f"{self.world} process{'es' if self.world > 1 else ''}"
            raise ValueError(
                f"tensor = {size}: this run has {count}, which is no multiple of that; start others with torchrun"
            )
        return Processes(self.rank // size, self.world // size)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of everybody's value."""
        if self.world == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.world

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


def current() -> Processes:
    """The processes of the default group, or one alone."""
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes()


@contextlib.contextmanager
def joined(backend: str | None = None) -> Iterator[Processes]:
    """Join the group that `torchrun` describes in the environment, for the length of the block.

    ::

        with joined():                       # torchrun --nproc-per-node 2 train.py
            Trainer(model, data, config.replace(parallel="ddp")).run()
    """
    if "WORLD_SIZE" not in os.environ or current().world > 1:
        yield current()
        return
    if backend is None:
        backend = "nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group(backend)
    try:
        yield current()
        dist.barrier()  # one that leaves while another still talks brings gloo's threads down
    finally:
        dist.destroy_process_group()
