"""Checkpoints that are whole, verified on load, and kept as latest, previous and best.

The one idea: the SHA-256 of the file stands in the file, as the comment that the zip format allows at its end. Data
and digest reach the disk in one rename, so a kill can't part them, and nothing is parsed before it has been verified.
Only tensors and plain values are stored; loading never runs code (`weights_only=True`).
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import shutil
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch

from nexus.core.files import atomic_write, fsync_dir, kill_point, publish, temporary_beside

LOG = logging.getLogger("nexus.checkpoint")
_MARK = b"nexus-sha256:"
_COMMENT = len(_MARK) + 64
_ZIP_END = 22  # bytes of the zip's last record when it has no comment; its last two are the comment's length
_LEAVES = (int, float, str, bytes, bool, type(None), torch.dtype, torch.Size)


class CheckpointError(ValueError):
    """A checkpoint that can't be used, or a payload that can't be stored. One line, with the cure."""


def sibling(path: Path | str, role: str) -> Path:
    """Return the name beside `path` for `role`: checkpoint_latest.pt -> checkpoint_previous.pt."""
    path = Path(path)
    if "latest" in path.stem:
        return path.with_name(path.name.replace("latest", role))
    return path.with_name(f"{path.stem}_{role}{path.suffix}")


def save_checkpoint(path: Path | str, payload: Mapping[str, Any], *, best: bool = False) -> str:
    """Write `payload` to `path` atomically and return the file's SHA-256 (hex).

    The file that was there becomes `sibling(path, "previous")`; with `best` the new one is also kept as "best". Both
    are hard links, so a checkpoint is written once.

    Args:
        payload: a mapping of tensors and plain values (nested dict, list, tuple; int, float, str, bool, None, bytes).

    Raises:
        CheckpointError: the payload holds something else; the message names where.
        OSError: the disk is full; the old files are untouched.
    """
    _check_plain(dict(payload), "payload")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        _write(dict(payload), temporary)
        kill_point("checkpoint.written")
        digest = _seal(temporary)
        kill_point("checkpoint.sealed")
        if path.exists():
            _keep(path, sibling(path, "previous"))
        publish(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    if best:
        _keep(path, sibling(path, "best"))
    kill_point("checkpoint.kept")
    return digest


def load_checkpoint(path: Path | str, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Return the payload of `path`, or of its previous checkpoint when `path` is missing or corrupt (logged).

    Raises:
        FileNotFoundError: there is neither.
        CheckpointError: there is something, but nothing whole.
    """
    path = Path(path)
    candidates = [file for file in (path, sibling(path, "previous")) if file.exists()]
    if not candidates:
        raise FileNotFoundError(f"no checkpoint at {path}")
    faults: list[str] = []
    for file in candidates:
        fault = verify_checkpoint(file)
        if fault is None:
            if file != path:
                LOG.warning("%s; going on from %s", "; ".join(faults) or f"{path} is missing", file)
                _set_aside(path)
            return torch.load(file, map_location=map_location, weights_only=True)
        faults.append(fault)
    raise CheckpointError(f"{'; '.join(faults)}; delete the named files to start this stage anew")


def _set_aside(path: Path) -> None:
    # Left in place, the next save would make the corrupt file the "previous" one and so lose the good one.
    if path.exists():
        os.replace(path, path.with_name(path.name + ".corrupt"))


def has_checkpoint(path: Path | str) -> bool:
    """Tell whether `load_checkpoint(path)` has something to look at."""
    return Path(path).exists() or sibling(path, "previous").exists()


def remove_checkpoints(path: Path | str) -> None:
    """Delete `path` with its previous and best copies."""
    for file in (Path(path), sibling(path, "previous"), sibling(path, "best")):
        file.unlink(missing_ok=True)


def verify_checkpoint(path: Path | str) -> str | None:
    """Return None for a whole checkpoint, or one line that names what is wrong with it."""
    with open(path, "rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        handle.seek(max(0, size - _COMMENT))
        comment = handle.read()
        if len(comment) < _COMMENT or not comment.startswith(_MARK):
            return f"{path} is cut short or was not written by this program"
        if _digest(handle, size - _COMMENT - 2) != comment[len(_MARK) :].decode("ascii", "replace"):
            return f"{path} is corrupt (its SHA-256 differs from the one it carries)"
    return None


class _Pieces:
    """The file, with a kill point before each piece: the fault tests die in the middle of a checkpoint."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle

    def write(self, data: bytes) -> int:
        kill_point("checkpoint.piece")
        return self._handle.write(data)

    def flush(self) -> None:
        self._handle.flush()


def _write(payload: dict[str, Any], path: Path) -> None:
    try:
        with open(path, "wb") as handle:
            torch.save(payload, _Pieces(handle))  # type: ignore[arg-type]  # torch asks for `write` alone
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__context__
        raise (cause or error) from None  # torch hides "no space left" behind a complaint about its own position


def _seal(path: Path) -> str:
    """Write the digest of the archive into its end comment, flush, and return the digest of the sealed file."""
    with open(path, "r+b") as handle:
        size = os.fstat(handle.fileno()).st_size
        handle.seek(size - _ZIP_END)
        assert handle.read(4) == b"PK\x05\x06", "torch.save wrote a zip without its end record"
        digest = _digest(handle, size - 2)
        handle.seek(size - 2)
        handle.write(_COMMENT.to_bytes(2, "little") + _MARK + digest.encode("ascii"))
        handle.flush()
        os.fsync(handle.fileno())
        return _digest(handle, size + _COMMENT)


def _digest(handle: BinaryIO, length: int) -> str:
    handle.seek(0)
    total = hashlib.sha256()
    while length > 0 and (piece := handle.read(min(length, 1 << 20))):
        total.update(piece)
        length -= len(piece)
    return total.hexdigest()


def _keep(source: Path, target: Path) -> None:
    """Make `target` a second name of `source`, replacing what was there; copy where there are no hard links."""
    temporary = temporary_beside(target)
    try:
        os.link(source, temporary)
    except OSError:
        with open(source, "rb") as old, atomic_write(target) as new:
            shutil.copyfileobj(old, new, 1 << 20)
        return
    os.replace(temporary, target)
    temporary.unlink(missing_ok=True)  # renaming onto another name of the same file leaves both
    fsync_dir(target.parent)
    kill_point("checkpoint.linked")


def _check_plain(value: Any, where: str) -> None:
    # Exact types: a numpy float is a float to isinstance, but loading it would need code that we refuse to run.
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _check_plain(key, f"{where} key {key!r}")
            _check_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]")
    elif type(value) not in _LEAVES and not isinstance(value, torch.Tensor):
        raise CheckpointError(f"{where} is a {type(value).__name__}; store tensors and plain values (call .tolist())")


# ---- random number generators ----------------------------------------------------------------------------------------


def rng_state() -> dict[str, Any]:
    """Return the state of Python's, numpy's and torch's global generators (every GPU's too), storable in a payload."""
    version, words, gauss = random.getstate()
    legacy = cast(tuple[str, np.ndarray, int, int, float], np.random.get_state(legacy=True))
    name, keys, position, has_gauss, cached = legacy
    return {
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
        "numpy": [str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
    }


def restore_rng(state: Mapping[str, Any]) -> None:
    """Set the generators to a state that `rng_state` returned. GPU states are used if the number of GPUs fits."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
