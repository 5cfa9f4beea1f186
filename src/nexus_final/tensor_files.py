"""Tensors of a Hugging Face folder, read piece by piece into memory that is handed in.

The one idea: plain reads at known offsets instead of a memory map. Nothing stays mapped, so the process is never larger
than what it holds, and every byte that is read is counted. Format: 8 bytes header length, JSON header, data.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nexus_final.errors import UserError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_PIECE = 16 * 2**20  # bytes read at once where a conversion needs a copy
_MAX_HEADER = 100 * 2**20
AGAIN = "fetch the teacher again"


class Entry(NamedTuple):
    """Where a tensor lies in its file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class TensorFiles:
    """One file or several with an index; files may vanish once nothing in them is needed any more.

    Attributes:
        reads: bytes read of each tensor so far.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.reads: Counter[str] = Counter()
        self._tables: dict[str, dict[str, Entry]] = {}

    @property
    def bytes_read(self) -> int:
        """Bytes of tensors read so far."""
        return sum(self.reads.values())

    @cached_property
    def home(self) -> dict[str, str]:
        """File name of each tensor.

        Raises:
            UserError: no weights, or a damaged index.
        """
        if (self.folder / INDEX).is_file():
            return _read_index(self.folder / INDEX)
        if (self.folder / SINGLE).is_file():
            return dict.fromkeys(self._table(SINGLE), SINGLE)
        raise UserError(str(self.folder), f"holds neither {SINGLE} nor {INDEX}", AGAIN)

    def entry(self, name: str) -> Entry:
        """Type, shape and place of a tensor."""
        file = self.home.get(name)
        table = {} if file is None else self._table(file)
        if name not in table:
            raise UserError(str(self.folder), f"tensor {name} is missing", AGAIN)
        return table[name]

    def total_bytes(self, names: Iterable[str]) -> int:
        """Bytes of the named tensors on disk."""
        return sum(e.end - e.begin for e in map(self.entry, names))

    def read(self, name: str, into: Tensor, first: int = 0) -> None:
        """Fill ``into`` (R, ...) with rows ``first`` to ``first + R`` of a tensor, converted to its type.

        Raises:
            UserError: the tensor is missing, of another shape, or its file is cut short.
        """
        entry = self.entry(name)
        if into.shape[1:] != entry.shape[1:] or first + len(into) > entry.shape[0]:
            raise UserError(
                str(self.folder), f"tensor {name} has shape {entry.shape}, wanted rows of {tuple(into.shape)}", AGAIN
            )
        row_bytes = (entry.end - entry.begin) // max(entry.shape[0], 1)
        offset = entry.begin + first * row_bytes
        path = self.folder / self.home[name]
        with open(path, "rb", buffering=0) as handle:
            handle.seek(offset)
            direct = into.dtype == entry.dtype and into.is_contiguous() and into.device.type == "cpu"
            if direct:
                _fill(handle, into, path)
            else:
                for rows in into.split(max(1, _PIECE // max(row_bytes, 1))):
                    piece = torch.empty(rows.shape, dtype=entry.dtype)
                    _fill(handle, piece, path)
                    rows.copy_(piece)
            if hasattr(os, "posix_fadvise"):  # we won't come back: leave the page cache to others
                os.posix_fadvise(handle.fileno(), offset, len(into) * row_bytes, os.POSIX_FADV_DONTNEED)
        self.reads[name] += len(into) * row_bytes

    def _table(self, file: str) -> dict[str, Entry]:
        if file not in self._tables:
            path = self.folder / file
            try:
                self._tables[file] = _read_header(path)
            except FileNotFoundError:
                raise UserError(str(path), "does not exist", AGAIN) from None
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(str(path), f"is not a whole safetensors file ({error})", AGAIN) from None
        return self._tables[file]


def byte_view(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU, as bytes that can be read into and written from."""
    return memoryview(tensor.detach().view(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]


def _fill(handle: Any, tensor: Tensor, path: Path) -> None:
    view = byte_view(tensor)
    while len(view):
        count = handle.readinto(view)
        if not count:
            raise UserError(str(path), "is cut short", AGAIN)
        view = view[count:]


def _read_header(path: Path) -> dict[str, Entry]:
    size = path.stat().st_size
    with open(path, "rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if length > min(size - 8, _MAX_HEADER):
            raise ValueError("its header is longer than the file")
        header = json.loads(handle.read(length))
    table: dict[str, Entry] = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        if about["dtype"] not in DTYPES:
            raise ValueError(f"tensor {name} is of type {about['dtype']}, known: {', '.join(DTYPES)}")
        begin, end = (8 + length + int(offset) for offset in about["data_offsets"])
        entry = Entry(DTYPES[about["dtype"]], tuple(about["shape"]), begin, end)
        if end > size or end - begin != entry.dtype.itemsize * torch.Size(entry.shape).numel():
            raise ValueError(f"tensor {name} does not fit into it")
        table[name] = entry
    return table


def _read_index(path: Path) -> dict[str, str]:
    try:
        places = dict(json.loads(path.read_text(encoding="utf-8"))["weight_map"])
        outside = [name for name in places.values() if Path(name).name != name]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(str(path), f"is not an index of safetensors files ({error!r})", AGAIN) from None
    if outside:  # an index must not make us read, or delete, files elsewhere
        raise UserError(str(path), f"names {outside[0]!r}, which is not a file of its own folder", AGAIN)
    return places
