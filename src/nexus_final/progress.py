"""Progress of long work: a rich bar at a terminal, plain lines everywhere else (logs, CI, pipes)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_EVERY_SECONDS = 30.0
_EVERY_SHARE = 0.1


class Ticker(Protocol):
    """What `progress` yields."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Report that `amount` more is done; `note` stands beside the bar until the next one."""


@contextmanager
def progress(console: Console, title: str, total: float, done: float = 0) -> Iterator[Ticker]:
    """Show how far `title` is, from `done` (resumed work starts above zero) to `total`."""
    if not console.is_terminal:
        yield _Lines(console, title, total, done)
        return
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console) as bar:
        task = bar.add_task(title, total=total, completed=int(done), note="")
        yield _Bar(bar, task)


class _Bar:
    def __init__(self, bar: Progress, task: int) -> None:
        self._bar, self._task = bar, task

    def advance(self, amount: float = 1, note: str = "") -> None:
        self._bar.advance(self._task, amount)  # type: ignore[arg-type]
        if note:
            self._bar.update(self._task, note=note)  # type: ignore[arg-type]


class _Lines:
    """A line at every tenth, and at least every half minute when something moved."""

    def __init__(self, console: Console, title: str, total: float, done: float) -> None:
        self._console, self._title, self._total, self._done = console, title, total, done
        self._shown = done
        self._when = time.monotonic()
        if done:
            self._print("resumed")

    def advance(self, amount: float = 1, note: str = "") -> None:
        self._done += amount
        due = time.monotonic() - self._when >= _EVERY_SECONDS
        if due or self._done - self._shown >= _EVERY_SHARE * self._total or self._done >= self._total:
            self._print(note)

    def _print(self, note: str) -> None:
        share = self._done / self._total if self._total else 1.0
        line = f"{self._title}: {self._done:g}/{self._total:g} ({share:.0%}) {note}".rstrip()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._shown, self._when = self._done, time.monotonic()
