"""What a stage of the pipeline is, and what the engine hands to it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from nexus.core.files import sha256_file, size_on_disk
from nexus.training.control import RunControl
from nexus_final.config import RunConfig
from nexus_final.paths import Paths
from nexus_final.progress import Ticker, progress
from nexus_final.state import BlockRow, StateStore


@dataclass(frozen=True)
class Estimate:
    """What is still to spend on a stage: seconds, bytes of disk that it adds, bytes of memory at its peak."""

    seconds: float = 0.0
    disk: int = 0
    memory: int = 0


class Stage(ABC):
    """One step of the pipeline. Subclass it; the engine decides when it runs.

    Attributes:
        name: unique, also the name for `--reset NAME`.
        version: changes when the code does: use `source_version(__name__, ...)`.
        needs: names of the stages whose artefacts it reads; their hashes are part of its fingerprint.
        title: what the terminal shows; the name if empty.
    """

    name: str
    version: str = "1"
    needs: tuple[str, ...] = ()
    title: str = ""

    def inputs(self, ctx: Context) -> dict[str, Any]:
        """Everything else that changes the result, JSON-ready: settings (`ctx.config.subset`), teacher and data hashes.

        Called only when all `needs` are done.
        """
        return {}

    @abstractmethod
    def run(self, ctx: Context) -> Sequence[Path]:
        """Do the work and return the artefacts (files or folders, all whole and flushed).

        It may be killed and called again any number of times. `ctx.resuming` tells that partial work of the same
        fingerprint may lie there; verify it before use. Call `ctx.control.safe_point(save)` between steps.
        """

    def discard(self, ctx: Context) -> None:  # noqa: B027 (most stages have nothing to delete)
        """Delete partial work: called before a run that doesn't resume, and by `--reset`. Default: nothing to delete.

        Afterwards `run` must not find anything of an earlier fingerprint that it would take for its own. The state's
        rows (blocks, checkpoints) are dropped by the engine.
        """

    def estimate(self, ctx: Context) -> Estimate:
        """What the stage will still cost. May be called before its `needs` are done, so look, don't assume."""
        return Estimate()


@dataclass(frozen=True)
class Context:
    """What a stage works with. The engine fills `stage`, `fingerprint` and `resuming` for each stage."""

    paths: Paths
    config: RunConfig
    console: Console
    control: RunControl
    store: StateStore
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("nexus_final"))
    stage: str = ""
    fingerprint: str = ""
    resuming: bool = False

    def progress(self, title: str, total: float, done: float = 0) -> AbstractContextManager[Ticker]:
        """A progress bar (plain lines off a terminal): `with ctx.progress("x", 10) as bar: bar.advance(1, "note")`."""
        return progress(self.console, title, total, done)

    def say(self, text: str) -> None:
        """Print a line to the terminal and the log."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self.log.info(text)

    def event(self, kind: str, **payload: Any) -> None:
        """Record an event of this stage."""
        self.store.event(kind, **({"stage": self.stage} if self.stage else {}), **payload)

    def artefacts(self, stage: str) -> list[Path]:
        """The artefacts of a finished stage, in the order its `run` returned them."""
        return [self.paths.absolute(path) for path, _ in self._done(stage)]

    def artefact_hash(self, stage: str) -> str:
        """One hash over all artefacts of a finished stage, names included."""
        return digest(sorted(self._done(stage)))

    def _done(self, stage: str) -> tuple[tuple[str, str], ...]:
        row = self.store.stage(stage)
        if row is None or row.status != "done":
            raise LookupError(f"stage {stage!r} isn't done; list it in `needs` of the stage that asks for it")
        return row.artefacts

    def add_block(self, key: str, path: Path) -> BlockRow:
        """Record a finished file of this stage (write it with `atomic_write` first) and return its row."""
        row = BlockRow(key, self.paths.relative(path), sha256_file(path), size_on_disk(path), self.fingerprint)
        self.store.add_block(self.stage, row)
        return row

    def blocks(self) -> dict[str, BlockRow]:
        """This stage's blocks whose files are there and verify; others are forgotten, so that they are made again."""
        good: dict[str, BlockRow] = {}
        for key, row in self.store.blocks(self.stage).items():
            path = self.paths.absolute(row.path)
            if path.is_file() and sha256_file(path) == row.sha256:
                good[key] = row
            else:
                self.log.warning("block %s (%s) is missing or damaged: it will be made again", key, path)
                self.store.forget_block(self.stage, key)
        return good

    def add_checkpoint(
        self, step: int, path: Path, sha256: str, metrics: Mapping[str, float] | None = None, kind: str = "latest"
    ) -> None:
        """Record a checkpoint of this stage that lies on disk; `sha256` is what `save_checkpoint` returned."""
        self.store.add_checkpoint(self.stage, step, self.paths.relative(path), sha256, metrics or {}, kind)


def digest(value: Any) -> str:
    """SHA-256 over the canonical JSON of a value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def source_version(*names: str | Path) -> str:
    """Return a hash over the source of modules (`"nexus.training.oom"`), packages (all their files) and plain files.

    The modules are found, not imported. Raises LookupError for one that isn't there.
    """
    total = hashlib.sha256()
    for name in names:
        for file in _sources(name):
            total.update(f"{file.name}\0{sha256_file(file)}\n".encode())
    return total.hexdigest()[:16]


def _sources(name: str | Path) -> list[Path]:
    if isinstance(name, Path):
        return [name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise LookupError(f"source_version: there is no module {name!r}")
    origin = Path(spec.origin)
    return sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
