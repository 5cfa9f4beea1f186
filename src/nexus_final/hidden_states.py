"""Hidden states of a block of text between two layers: in memory, or on disk where they are too many.

The one idea: what has been computed up to a layer is one file, so that committing a layer is one rename, and a killed
run goes on from the last of them with the same bits.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from nexus.core.files import atomic_write, publish, sha256_file, temporary_beside
from nexus_final.errors import UserError
from nexus_final.tensor_files import byte_view


class Committed(NamedTuple):
    """A file of hidden states, and its SHA-256."""

    file: str
    sha256: str


class HiddenStates:
    """(sequences, length, width) numbers in ``folder``; layers read and write them by slices of sequences.

    Args:
        in_memory: keep them in memory, and write a file at commits only. Otherwise a layer is read from the last file
            and written to the next, and memory holds a slice at a time.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int], dtype: torch.dtype, in_memory: bool) -> None:
        self.folder, self.shape, self.dtype = folder, shape, dtype
        self._data = torch.empty(shape, dtype=dtype) if in_memory else None
        self._current: Path | None = None
        self._next: BinaryIO | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def sequence_bytes(self) -> int:
        """Bytes of one sequence."""
        return self.shape[1] * self.shape[2] * self.dtype.itemsize

    def load(self, committed: Committed) -> None:
        """Go on from a file.

        Raises:
            UserError: it is missing or damaged.
        """
        path = self.folder / committed.file
        if not path.is_file() or sha256_file(path) != committed.sha256:
            raise UserError(
                str(path), "is missing or damaged", "delete the folder: the pass over the teacher starts anew"
            )
        self._current = path
        if self._data is not None:
            with open(path, "rb", buffering=0) as handle:
                _read(handle, self._data)

    def read(self, part: slice) -> Tensor:
        """Sequences ``part`` (B, T, D) as they were before the layer in work."""
        if self._data is not None:
            return self._data[part]
        assert self._current is not None, "nothing has been committed yet"
        count = len(range(*part.indices(self.shape[0])))
        states = torch.empty(count, *self.shape[1:], dtype=self.dtype)
        with open(self._current, "rb", buffering=0) as handle:
            handle.seek((part.start or 0) * self.sequence_bytes)
            _read(handle, states)
        return states

    def write(self, part: slice, states: Tensor) -> None:
        """Set sequences ``part`` as they are after the layer in work."""
        if self._data is not None:
            self._data[part] = states
        else:
            handle = self._open()
            handle.seek((part.start or 0) * self.sequence_bytes)
            handle.write(byte_view(states.to("cpu", self.dtype).contiguous()))

    def put(self, positions: Tensor, rows: Tensor) -> None:
        """Set single positions (N,), counted through all sequences, to ``rows`` (N, D): for the embedding."""
        if self._data is not None:
            self._data.view(-1, self.shape[2])[positions] = rows.to(self._data)
            return
        handle, row_bytes = self._open(), self.shape[2] * self.dtype.itemsize
        for position, row in zip(positions.tolist(), rows.to(self.dtype).cpu(), strict=True):
            handle.seek(position * row_bytes)
            handle.write(byte_view(row))

    def commit(self, name: str) -> Committed:
        """Make what has been written since the last commit the file ``name``, whole and flushed; the old file stays."""
        path = self.folder / name
        if self._data is not None:
            with atomic_write(path) as handle:
                handle.write(byte_view(self._data))
        else:
            handle = self._open()
            handle.flush()
            os.fsync(handle.fileno())
            handle.close()
            self._next = None
            publish(Path(handle.name), path)
        self._current = path
        return Committed(name, sha256_file(path))

    def close(self) -> None:
        """Drop a layer that was begun and not committed."""
        if self._next is not None:
            self._next.close()
            Path(self._next.name).unlink(missing_ok=True)
            self._next = None

    def _open(self) -> BinaryIO:
        if self._next is None:
            self._next = open(temporary_beside(self.folder / "hidden"), "w+b")  # noqa: SIM115 (closed by commit)
        return self._next


def _read(handle: BinaryIO, into: Tensor) -> None:
    view = byte_view(into)
    while len(view):
        count = handle.readinto(view)  # type: ignore[attr-defined]
        assert count, "a file of hidden states shorter than when it was verified"
        view = view[count:]
