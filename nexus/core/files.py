"""Files that are whole or absent: atomic writes, hashes of artefacts, and kill points for the fault tests.

The one idea: write beside the target, flush to disk, rename over it, flush the folder. A process that is killed at
any instant leaves the old file or the new one, never half of either. Standard library only, so any room may use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

KILL_VARIABLE = "NEXUS_KILL_AT"
_TEMPORARY = re.compile(r"^\..+\.(?P<pid>\d+)-\d+\.tmp$")
_serial = itertools.count()
_hits: Counter[str] = Counter()


def kill_point(name: str) -> None:
    """Die by SIGKILL here if `NEXUS_KILL_AT` names this point: `name`, `name:n` (n-th visit) or `*:n` (n-th of any).

    The fault tests use it to stop a real process at an exact place; without the variable it does nothing.
    """
    wanted = os.environ.get(KILL_VARIABLE)
    if not wanted:
        return
    point, _, count = wanted.rpartition(":")
    if not count.isdigit():
        point, count = wanted, "1"
    _hits.update((name, "*"))
    if point in (name, "*") and _hits[point] == int(count):
        os.kill(os.getpid(), signal.SIGKILL)


def fsync_dir(folder: Path | str) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_beside(path: Path | str) -> Path:
    """Return a fresh hidden name in `path`'s folder; it carries our pid, so that leftovers can be told from work."""
    path = Path(path)
    return path.with_name(f".{path.name}.{os.getpid()}-{next(_serial)}.tmp")


def is_temporary(path: Path | str) -> bool:
    """Tell whether the name is one of ours for unfinished work."""
    return _TEMPORARY.match(Path(path).name) is not None


def publish(temporary: Path, path: Path) -> None:
    """Move a finished, flushed temporary file over `path` and flush the folder."""
    kill_point("file.before_rename")
    os.replace(temporary, path)
    kill_point("file.after_rename")
    fsync_dir(path.parent)


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[BinaryIO]:
    """Open a binary file that takes `path`'s place when the block ends well, and vanishes when it doesn't.

    Creates missing parent folders. Raises OSError (for instance a full disk) with the old file untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with open(temporary, "wb") as handle:
            yield handle
            kill_point("file.written")
            handle.flush()
            os.fsync(handle.fileno())
        publish(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write doesn't know its file; a person wants to
        raise
    finally:
        temporary.unlink(missing_ok=True)  # already gone when all went well


@contextlib.contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Like `atomic_write`, for writers that want a path: yields a temporary one that takes `path`'s place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        kill_point("file.written")
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: Path | str, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_write(path) as handle:
        middle = len(data) // 2
        handle.write(data[:middle])
        kill_point("file.half_written")
        handle.write(data[middle:])


def atomic_write_text(path: Path | str, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    atomic_write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder that takes `path`'s place when the block ends well, and is removed when it doesn't.

    An older folder at `path` is replaced as a whole. Killed between the two renames of a replacement, `path` is
    missing (never mixed); the caller's next run makes it again.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = temporary_beside(path), temporary_beside(path)
    fresh.mkdir()
    try:
        yield fresh
        _flush_tree(fresh)
        kill_point("folder.written")
        if path.exists():
            os.replace(path, old)
            kill_point("folder.between_renames")
        os.replace(fresh, path)
        fsync_dir(path.parent)
    except BaseException:
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _flush_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            with open(Path(parent, name), "rb") as handle:
                os.fsync(handle.fileno())
        fsync_dir(parent)


def sha256_file(path: Path | str) -> str:
    """Return the hex SHA-256 of a file's bytes, read in pieces."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def artefact_hash(path: Path | str) -> str:
    """Return the hex SHA-256 of a file, or of a folder: its relative names and contents in sorted order.

    Times and permissions don't count, nor do unfinished temporaries. Raises FileNotFoundError when nothing is there.
    """
    path = Path(path)
    if not path.is_dir():
        return sha256_file(path)
    total = hashlib.sha256()
    for file in sorted(files_below(path), key=lambda file: file.relative_to(path).as_posix()):
        total.update(f"{file.relative_to(path).as_posix()}\0{sha256_file(file)}\n".encode())
    return total.hexdigest()


def files_below(folder: Path | str) -> Iterator[Path]:
    """Yield every finished file below `folder`, in no particular order; links to folders aren't followed."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_temporary(name)]
        yield from (Path(parent, name) for name in names if not is_temporary(name))


def size_on_disk(path: Path | str) -> int:
    """Return the bytes of a file or of all files below a folder; 0 when nothing is there. Hard links count once."""
    path = Path(path)
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    seen: dict[tuple[int, int], int] = {}
    for file in files_below(path):
        with contextlib.suppress(FileNotFoundError):  # a run may be writing while we look
            status = file.stat()
            seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


def remove_stale_temporaries(folder: Path | str, exclusive: bool = False) -> list[Path]:
    """Delete what killed processes left unfinished below `folder`, and return it; a living writer's work stays.

    `exclusive`: the caller holds the lock on this folder, so whatever lies there is stale (process ids come round
    again, inside containers at every start).
    """
    removed: list[Path] = []
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            match = _TEMPORARY.match(name)
            if match and (exclusive or not pid_alive(int(match["pid"]))):
                removed.append(Path(parent, name))
        folders[:] = [name for name in folders if not is_temporary(name)]
    for path in removed:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return removed


def pid_alive(pid: int) -> bool:
    """Tell whether a process with this id exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
