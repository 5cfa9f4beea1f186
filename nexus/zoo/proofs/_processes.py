"""Several gloo processes for a proof, each of which runs the same function.

The one idea: the processes are forked, so that they inherit a mistake that was planted in this process's modules, and
each answers with a file of tensors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

PATIENCE = 60  # seconds; a process that waits for another that failed gives up then
Work = Callable[[int, int], Mapping[str, Tensor]]


def in_processes(work: Work, world: int) -> list[dict[str, Tensor]]:
    """What ``work(rank, world)`` gives in each of ``world`` processes of one gloo group.

    Raises:
        AssertionError: a process failed or did not end.
    """
    with tempfile.TemporaryDirectory() as folder:
        context = get_context("fork")
        started = [context.Process(target=_run, args=(work, rank, world, Path(folder))) for rank in range(world)]
        for process in started:
            process.start()
        for process in started:
            process.join(2 * PATIENCE)
            process.kill()
        files = [Path(folder) / f"{rank}.safetensors" for rank in range(world)]
        if not all(file.is_file() for file in files):
            raise AssertionError("a process of the group failed")
        return [load_file(file) for file in files]


def _run(work: Work, rank: int, world: int, folder: Path) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)  # the threads of the process that forked are not here
    dist.init_process_group(
        "gloo", f"file://{folder / 'store'}", timedelta(seconds=PATIENCE), rank=rank, world_size=world
    )
    answer = dict(work(rank, world))
    save_file({name: tensor.contiguous() for name, tensor in answer.items()}, folder / f"{rank}.tmp")
    (folder / f"{rank}.tmp").rename(folder / f"{rank}.safetensors")
    dist.destroy_process_group()
