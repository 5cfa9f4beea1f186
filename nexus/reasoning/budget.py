"""Limits of time and memory that every engine of this room obeys.

Own engines call `Budget.spend()` in their loops; engines in other languages are watched by a thread that interrupts
them. Running out is an answer of its own ("gave up"), never a guess.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


class OutOfBudget(RuntimeError):
    """Time or memory ran out; the message says which, and what raises the limit."""


@dataclass
class Budget:
    """What one question may cost.

    Attributes:
        seconds: of wall clock, from when the budget was made.
        megabytes: by which the process may grow.
    """

    seconds: float = 20.0
    megabytes: float = 2_048.0
    _start: float = field(default_factory=time.monotonic)
    _base: float = field(default_factory=lambda: resident_megabytes())
    _calls: int = 0

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.monotonic() - self._start)

    def exceeded(self) -> str | None:
        """What ran out, if anything."""
        if self.left <= 0:
            return f"time: {self.seconds:g} s are used up; give a larger seconds="
        if resident_megabytes() - self._base > self.megabytes:
            return f"memory: grew by more than {self.megabytes:g} MB; give a larger megabytes="
        return None

    def spend(self) -> None:
        """Called in loops: looks at the clock now and then.

        Raises:
            OutOfBudget: nothing is left.
        """
        self._calls += 1
        if self._calls % 256 == 1 and (reason := self.exceeded()):
            raise OutOfBudget(reason)

    @contextlib.contextmanager
    def watch(self, interrupt: Callable[[], object]) -> Iterator[None]:
        """While the block runs, call ``interrupt`` as soon as the budget is exceeded, then raise `OutOfBudget`."""
        done, reason = threading.Event(), []

        def look() -> None:
            while not done.wait(0.02):
                if (found := self.exceeded()) and not done.is_set():
                    reason.append(found)
                    interrupt()
                    return

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        if reason:
            raise OutOfBudget(reason[0])


def resident_megabytes() -> float:
    """Memory that the process holds now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * 4_096 / 2**20
