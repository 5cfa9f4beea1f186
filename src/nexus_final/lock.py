"""One run per root: a lock that the kernel releases with the process, so that a killed run never blocks the next."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import Self

from nexus_final.errors import UserError

LOG = logging.getLogger("nexus_final.lock")
_held: set[Path] = set()  # record locks don't exclude their own process; this does


class RunLock:
    """Hold `path` (it carries our process id) for the length of a `with` block.

    A POSIX record lock, because it isn't inherited by forked workers: one that outlives a killed run must not keep
    the lock. The file stays when the lock is given back, emptied.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def __enter__(self) -> Self:
        if self.path in _held:
            raise self._refusal(os.getpid())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = _read_pid(descriptor)
            os.close(descriptor)
            raise self._refusal(pid) from error
        if old := _read_pid(descriptor):
            LOG.info("the run with pid %d ended without giving the lock back; taking over", old)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        _held.add(self.path)
        return self

    def __exit__(self, *_: object) -> None:
        _held.discard(self.path)
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def _refusal(self, pid: int) -> UserError:
        who = f"pid {pid}" if pid else "another process"
        cure = f"wait for it, or stop it with: kill -INT {pid}" if pid else "wait for it"
        return UserError("--root", f"a run ({who}) is at work in {self.path.parent.parent}", cure)


def holder(path: Path) -> int | None:
    """Return the process id of the run that holds the lock, 0 if it isn't known yet, None if nobody does."""
    if path in _held:
        return os.getpid()
    if not path.exists():
        return None
    with open(path, "rb") as handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _read_pid(handle.fileno())
    return None


def _read_pid(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0
