"""The heap's free pages, given back to the system.

The one idea: glibc keeps what was freed below something that is still held, for the next time; where much was taken
once (weights before they were rounded) or a little more every hour (a server that answers for days), the next time may
never come. Reference: malloc_trim(3).
"""

import ctypes
import functools
from collections.abc import Callable


def trim_heap() -> bool:
    """Give them back; returns whether there were any. Does nothing where the C library has no such call."""
    trim = _malloc_trim()
    return trim is not None and bool(trim(0))


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    except (OSError, TypeError):  # no C library to be found by that name
        return None
