"""How much memory the process uses: what is allocated, and what lies in RAM.

The one idea: a leak shows in what is allocated at once, but in RAM only after the holes that earlier work left in the
heap are full; and what Python or a library takes past the heap shows in RAM only. So both are read.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Mallinfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc 2.33 and later, see mallinfo(3)."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


@functools.cache
def _mallinfo() -> Callable[[], Any] | None:
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (OSError, TypeError, AttributeError):  # not glibc, or an old one
        return None
    function.restype = _Mallinfo
    return function


class Heap(NamedTuple):
    """Bytes of the C library's heap, all its arenas: held by somebody, and free but not given back to the system."""

    used: int
    free: int


def heap_bytes() -> Heap | None:
    """What the heap holds and what it keeps; None where the C library doesn't say."""
    ask = _mallinfo()
    if ask is None:
        return None
    found = ask()
    return Heap(found.uordblks + found.hblkhd, found.fordblks)


def allocated_megabytes() -> float | None:
    """What the heap holds for somebody (on a GPU: for tensors); None where the system doesn't say."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.memory_allocated() / 2**20
    heap = heap_bytes()
    return None if heap is None else heap.used / 2**20


def resident_megabytes() -> float | None:
    """What of the process lies in RAM; None where the system doesn't say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as handle:
            return int(handle.read().split()[1]) * 4096 / 2**20
    except OSError:
        return None
