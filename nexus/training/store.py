"""The checkpoints of a run: a folder each, safetensors and JSON, the last k and the best one.

The one idea: a checkpoint is a folder that appears by one rename and carries the SHA-256 of its files, so what is
listed is whole or is named as corrupt and passed over. Nothing in it can run code.

    store = CheckpointStore(folder, keep_last=2)
    store.save(step, model_tensors, state)
    step, model_tensors, state = store.latest()
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from nexus.core.files import atomic_folder, atomic_write, sha256_file
from nexus.training.checkpoint import CheckpointError
from nexus.training.plain import alone, pack, unpack

LOG = logging.getLogger("nexus.checkpoint")
MODEL, STATE, HEADER = "model.safetensors", "state.safetensors", "checkpoint.json"
FORMAT, BEST = 1, "best"


class Checkpoint(NamedTuple):
    """What was saved: the step, the model's tensors by name, and everything else that a run needs to go on."""

    step: int
    model: dict[str, Tensor]
    state: dict[str, Any]


class CheckpointStore:
    """Checkpoints below ``folder``: ``step-00000100/`` and so on, and ``best.json`` that names the best.

    Args:
        keep_last: how many are kept beside the best one.
    """

    def __init__(self, folder: Path | str, keep_last: int = 2) -> None:
        self.folder, self.keep_last = Path(folder), keep_last

    def save(self, step: int, model: Mapping[str, Tensor], state: Mapping[str, Any], best: bool = False) -> Path:
        """Write one checkpoint and drop what is no longer kept; returns its folder.

        Args:
            model: tensors by name; entries that share memory are stored for each name.
            state: tensors and plain values, nested.
            best: it is the best so far; it stays until a better one comes.

        Raises:
            ValueError: the state holds something else. OSError: the disk is full; older checkpoints are untouched.
        """
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        tree = pack(dict(state), tensors)
        target = self.folder / f"step-{step:08d}"
        with atomic_folder(target) as fresh:
            save_file(alone(model), str(fresh / MODEL))
            save_file(alone(tensors), str(fresh / STATE))
            digests = {name: sha256_file(fresh / name) for name in (MODEL, STATE)}
            header = {"format": FORMAT, "step": step, "sha256": digests, "state": tree}
            (fresh / HEADER).write_text(json.dumps({**header, "own_sha256": _digest(header)}), encoding="utf-8")
        if best:
            with atomic_write(self.folder / f"{BEST}.json") as handle:
                handle.write(json.dumps({"step": step, "folder": target.name}).encode())
        self._prune()
        return target

    def folders(self) -> list[Path]:
        """Folders of checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("step-*") if path.is_dir() and path.name[5:].isdigit())

    def best_folder(self) -> Path | None:
        """Folder of the best checkpoint, if one was marked."""
        pointer = self.folder / f"{BEST}.json"
        if not pointer.is_file():
            return None
        found = self.folder / str(json.loads(pointer.read_text(encoding="utf-8"))["folder"])
        return found if found.is_dir() else None

    def _prune(self) -> None:
        kept = {*self.folders()[-self.keep_last :], self.best_folder()}
        for folder in self.folders():
            if folder not in kept:
                shutil.rmtree(folder)

    def latest(self) -> Checkpoint | None:
        """The newest whole checkpoint; corrupt ones are named in the log and passed over. None: there is none at all.

        Raises:
            CheckpointError: there are checkpoints, and none is whole.
        """
        faults = []
        for folder in reversed(self.folders()):
            try:
                found = read_checkpoint(folder)
            except CheckpointError as error:
                LOG.warning("%s; passed over", error)
                faults.append(str(error))
                continue
            return found
        if faults:
            raise CheckpointError(f"{'; '.join(faults)}; delete the named folders to start anew")
        return None

    def best(self) -> Checkpoint | None:
        """The best checkpoint, if one was marked.

        Raises:
            CheckpointError: it is corrupt.
        """
        folder = self.best_folder()
        return None if folder is None else read_checkpoint(folder)


def read_checkpoint(folder: Path | str) -> Checkpoint:
    """Read one checkpoint after verifying it.

    Raises:
        CheckpointError: a file is missing or differs from its SHA-256; the message names it.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    header = _header(folder)
    for name, wanted in header["sha256"].items():
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name} is missing")
        if sha256_file(folder / name) != wanted:
            raise CheckpointError(f"{folder / name} is corrupt (its SHA-256 differs)")
    state = unpack(header["state"], load_file(str(folder / STATE)))
    return Checkpoint(int(header["step"]), load_file(str(folder / MODEL)), state)


def _header(folder: Path) -> dict[str, Any]:
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CheckpointError(f"{folder / HEADER} is missing or unreadable") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"{folder / HEADER} has another format than {FORMAT}")
    if header.pop("own_sha256", None) != _digest(header):
        raise CheckpointError(f"{folder / HEADER} is corrupt (its SHA-256 differs)")
    return header


def _digest(header: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
