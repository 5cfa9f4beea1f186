"""Batches in an order that a killed run can take up again.

The one idea: where a run stands in its data is the epoch, the batch in it, and the state of the generators when the
epoch began. An iterable that shuffles (a `DataLoader`) draws its order from them, so beginning the epoch again from
that state and passing over what was used gives the same order as if nothing had happened.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nexus.training.checkpoint import restore_rng, rng_state


class SampleBatches:
    """Batches of single samples, each epoch in its own order, which is a function of seed and epoch.

    Args:
        samples: anything with a length and items: a tensor (N, ...), a list, a dataset. Samples are tensors, or
            mappings or tuples of tensors, of one shape.
        batch_size: samples in a batch; what is left over at the end of an epoch is left out.
        rank, world: this process takes every ``world``-th batch.

    Raises:
        ValueError: there are fewer samples than a batch.
    """

    def __init__(self, samples: Any, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        if len(samples) < batch_size * world:
            raise ValueError(
                f"batch_size = {batch_size} (times {world} processes): the data has {len(samples)} samples; "
                "use a smaller batch or more data"
            )
        self.samples, self.batch_size, self.seed, self.rank, self.world = samples, batch_size, seed, rank, world
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.samples) // (self.batch_size * self.world)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.samples), generator=generator)
        for index in range(len(self)):
            start = (index * self.world + self.rank) * self.batch_size
            yield self._batch(order[start : start + self.batch_size])

    def _batch(self, indices: Tensor) -> Any:
        if isinstance(self.samples, Tensor):
            return self.samples[indices]
        return _stack([self.samples[int(i)] for i in indices])


def _stack(samples: Sequence[Any]) -> Any:
    first = samples[0]
    if isinstance(first, Mapping):
        return {key: _stack([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple):
        return tuple(_stack(column) for column in zip(*samples, strict=True))
    return torch.stack([torch.as_tensor(sample) for sample in samples])


class Stream:
    """An endless stream of batches over any iterable, with a position to save and restore.

    Args:
        data: an iterable of batches; what gives a fresh iterator each time is gone through again and again.
        change: applied to each batch (to cut rows off, to move it to a device).
    """

    def __init__(self, data: Iterable[Any], change: Callable[[Any], Any] = lambda batch: batch) -> None:
        self.data, self.change = data, change
        self.epoch, self.position = 0, 0
        self._began: dict[str, Any] | None = None
        self._batches: Iterator[Any] | None = None

    def __next__(self) -> Any:
        for fresh in (False, True):
            if self._batches is None:
                self._begin()
            assert self._batches is not None
            batch = next(self._batches, _END)
            if batch is not _END:
                self.position += 1
                return self.change(batch)
            if self.position == 0 or fresh or iter(self.data) is self.data:
                break
            self.epoch, self.position, self._batches = self.epoch + 1, 0, None
        raise ValueError(
            f"data: ran out after {self.position} batches of epoch {self.epoch}; pass something "
            f"that can be gone through again (a list, a "
            "DataLoader), or fewer steps"
        )

    def _begin(self) -> None:
        self._began = rng_state()
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(self.epoch)
        self._batches = iter(self.data)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"epoch": self.epoch, "position": self.position, "began": self._began}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where another stream over the same data stood; the generators' state is the caller's to restore.

        Raises:
            ValueError: the data ends before that.
        """
        self.epoch, self.position, self._batches = int(state["epoch"]), 0, None
        if state["began"] is None:
            return
        restore_rng(state["began"])
        self._begin()
        assert self._batches is not None
        wanted = int(state["position"])
        self.position = sum(1 for _ in itertools.islice(self._batches, wanted))
        if self.position < wanted:
            raise ValueError(
                f"data: ended after {self.position} batches; the checkpoint stood at {wanted}: is it the same data?"
            )


_END = object()


def cut_rows(batch: Any, length: int) -> Any:
    """Rows of token ids (B, T), wherever they stand in the batch, cut off after ``length``."""
    if isinstance(batch, Tensor):
        return batch[:, :length] if batch.dim() == 2 and not batch.is_floating_point() else batch
    if isinstance(batch, Mapping):
        return {key: cut_rows(value, length) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(cut_rows(value, length) for value in batch)
    return batch


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors on ``device``."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch
