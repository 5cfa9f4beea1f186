"""The stage engine: what is done and unchanged is skipped, what was stopped is resumed, the rest runs.

The one idea: a stage's fingerprint is the hash of everything that decides its result (code version, inputs, hashes of
what it needs). It is skipped if, and only if, it is done with the same fingerprint and its artefacts verify. So a
change re-runs what depends on it and nothing else.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from nexus.core.files import artefact_hash, is_temporary, kill_point, remove_stale_temporaries
from nexus.training.control import Interrupted, RunControl
from nexus_final.config import RunConfig
from nexus_final.errors import UserError
from nexus_final.lock import RunLock
from nexus_final.logs import run_log
from nexus_final.paths import Paths
from nexus_final.stage import Context, Estimate, Stage, digest
from nexus_final.state import StageRow, StateStore

__all__ = ["Context", "Decision", "Estimate", "RunConfig", "Runner", "Stage", "open_context"]


@dataclass(frozen=True)
class Decision:
    """What the engine does with a stage, and why. Without a fingerprint it waits for a stage that must run first."""

    stage: Stage
    action: Literal["skip", "resume", "run"]
    why: str
    fingerprint: str = ""
    basis: dict[str, Any] | None = None
    estimate: Estimate = field(default_factory=Estimate)


class Runner:
    """Run stages in order, or tell what a run would do.

    Args:
        ctx: from `open_context`, which also holds the lock.
    """

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    def run(self, stages: Sequence[Stage]) -> list[Decision]:
        """Bring every stage to done; return what was decided for each.

        Raises:
            Interrupted: the run was asked to stop; the stage saved and will resume.
            UserError: for instance too little disk for the next stage. Everything done so far stays.
        """
        check_order(stages)
        made = [self._bring_to_done(stage) for stage in stages]
        self.ctx.event("pipeline done")
        return made

    def plan(self, stages: Sequence[Stage]) -> list[Decision]:
        """Tell what `run` would do with each stage, and what that costs. Changes nothing."""
        check_order(stages)
        pending: set[str] = set()
        decisions: list[Decision] = []
        for stage in stages:
            waits = [name for name in stage.needs if name in pending]
            found = Decision(stage, "run", f"after {', '.join(waits)}") if waits else self.decide(stage)
            if found.action != "skip":
                pending.add(stage.name)
                found = replace(found, estimate=stage.estimate(self._context(found)))
            decisions.append(found)
        return decisions

    def decide(self, stage: Stage) -> Decision:
        """Decide about one stage whose `needs` are done."""
        ctx = replace(self.ctx, stage=stage.name)
        upstream = {name: ctx.artefact_hash(name) for name in stage.needs}
        basis = {"version": stage.version, "inputs": stage.inputs(ctx), "upstream": upstream}
        fingerprint = digest({"name": stage.name, **basis})
        action, why = self._judge(self.ctx.store.stage(stage.name), fingerprint, basis)
        return Decision(stage, action, why, fingerprint, basis)

    def _judge(
        self, row: StageRow | None, fingerprint: str, basis: dict[str, Any]
    ) -> tuple[Literal["skip", "resume", "run"], str]:
        if row is None:
            return "run", "never ran"
        if row.fingerprint != fingerprint:
            return "run", f"changed: {', '.join(differences(row.basis, basis))}"
        if row.status != "done":
            return "resume", {"running": "was killed"}.get(row.status, f"was {row.status}")
        for path, expected in row.artefacts:
            if fault := self._artefact_fault(path, expected):
                return "run", fault
        return "skip", "done"

    def _artefact_fault(self, stored: str, expected: str) -> str | None:
        path = self.ctx.paths.absolute(stored)
        if not path.exists():
            return f"{stored} is missing"
        return None if artefact_hash(path) == expected else f"{stored} was changed or damaged"

    def _context(self, decision: Decision) -> Context:
        resuming = decision.action == "resume"
        return replace(self.ctx, stage=decision.stage.name, fingerprint=decision.fingerprint, resuming=resuming)

    def _bring_to_done(self, stage: Stage) -> Decision:
        self.ctx.control.check()
        found = self.decide(stage)
        title = stage.title or stage.name
        if found.action == "skip":
            self.ctx.say(f"[{title}] done already, skipped")
            return found
        ctx = self._context(found)
        found = replace(found, estimate=stage.estimate(ctx))
        guard_disk(stage, found.estimate, ctx)
        self.ctx.say(f"[{title}] {found.action}s ({found.why})")
        if found.action == "run":
            stage.discard(ctx)
            ctx.store.forget_stage(stage.name)
        kill_point(f"stage.{stage.name}.before")
        ctx.store.start_stage(stage.name, found.fingerprint, found.basis or {})
        self._execute(stage, ctx)
        return found

    def _execute(self, stage: Stage, ctx: Context) -> None:
        began = time.monotonic()
        with self._recording_failures(stage, ctx):
            artefacts = [Path(path) for path in stage.run(ctx)]
            kill_point(f"stage.{stage.name}.ran")
            hashed = [(ctx.paths.relative(path), artefact_hash(path)) for path in artefacts]
            ctx.store.end_stage(stage.name, "done", hashed)
        kill_point(f"stage.{stage.name}.done")
        seconds = time.monotonic() - began
        ctx.event("stage done", seconds=round(seconds, 3), artefacts=[path for path, _ in hashed])
        ctx.say(f"[{stage.title or stage.name}] done in {seconds:.1f} s")

    @contextmanager
    def _recording_failures(self, stage: Stage, ctx: Context) -> Iterator[None]:
        try:
            yield
        except (Interrupted, KeyboardInterrupt) as stop:
            with _if_possible(ctx.log):
                ctx.store.end_stage(stage.name, "interrupted", error=str(stop))
                ctx.event("stage interrupted", reason=str(stop))
            raise
        except Exception as error:
            with _if_possible(ctx.log):
                ctx.store.end_stage(stage.name, "failed", error=f"{type(error).__name__}: {error}")
                ctx.event("stage failed", error=f"{type(error).__name__}: {error}")
            raise


def check_order(stages: Sequence[Stage]) -> None:
    """Assert, for the stages' author, that names are unique and each stage comes after what it needs."""
    seen: set[str] = set()
    for stage in stages:
        assert stage.name not in seen, f"two stages are called {stage.name!r}"
        missing = set(stage.needs) - seen
        assert not missing, f"stage {stage.name!r} needs {sorted(missing)}, which don't come before it"
        seen.add(stage.name)


def dependants(stages: Sequence[Stage], name: str) -> list[Stage]:
    """The stage called `name` and all that need it, directly or not, in order."""
    found: list[Stage] = []
    for stage in stages:
        if stage.name == name or {other.name for other in found} & set(stage.needs):
            found.append(stage)
    return found


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Name what differs between two bases of a fingerprint."""
    names = ["its code"] if old.get("version") != new["version"] else []
    for part, label in (("inputs", "{}"), ("upstream", "result of {}")):
        before, after = old.get(part, {}), new[part]
        names += [label.format(key) for key in sorted({*before, *after}) if before.get(key) != after.get(key)]
    return names or ["its inputs"]


def guard_disk(stage: Stage, estimate: Estimate, ctx: Context) -> None:
    """Refuse to start a stage that would fill the disk.

    Raises:
        UserError: less is free than the stage will write plus `disk_reserve_gb`.
    """
    ctx.paths.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(ctx.paths.root).free
    need = estimate.disk + int(ctx.config.disk_reserve_gb * 1e9)
    if free < need:
        what = f"stage {stage.name} needs {need / 1e9:.2f} GB and {free / 1e9:.2f} GB is free below {ctx.paths.root}"
        raise UserError("disk", what, f"free {(need - free) / 1e9:.2f} GB and run again, or choose another --root")


@contextmanager
def open_context(
    config: RunConfig, console: Console, prepare: Callable[[Paths], None] = lambda paths: None
) -> Iterator[Context]:
    """Everything that a run holds: the lock, signal handlers, log and state. Given back in reverse order.

    Args:
        prepare: called when the lock is held and before the state is opened (a reset happens there).

    Raises:
        UserError: another run is at work in this root, or the state file can't be read.
    """
    paths = Paths(config.root)
    with (
        RunLock(paths.lock),
        run_log(paths.train_log, console) as log,
        RunControl(paths.control, announce=True) as control,
    ):
        prepare(paths)
        _sweep(paths, log)
        with StateStore(paths.state) as store:
            store.begin_run(config.to_dict())
            with _recording_outcome(store, log):
                yield Context(paths, config, console, control, store, log)


def _sweep(paths: Paths, log: logging.Logger) -> None:
    """Remove what a killed run left unfinished, in the pipeline's own folders and nowhere else."""
    own = (paths.memory, paths.checkpoints, paths.results, paths.release)
    removed = [leftover for folder in own for leftover in remove_stale_temporaries(folder, exclusive=True)]
    for name in (folder.name for folder in own):
        for leftover in filter(is_temporary, paths.root.glob(f".{name}.*.tmp")):
            shutil.rmtree(leftover)
            removed.append(leftover)
    for leftover in removed:
        log.info("removed %s, left unfinished by a killed run", leftover)


@contextmanager
def _recording_outcome(store: StateStore, log: logging.Logger) -> Iterator[None]:
    outcome = "done"
    try:
        yield
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
        log.info("the run ended early: %s", outcome, exc_info=isinstance(error, Exception))
        raise
    finally:
        with _if_possible(log):
            store.end_run(outcome)


@contextmanager
def _if_possible(log: logging.Logger) -> Iterator[None]:
    """For notes about an ending: on a full disk they fail as well, and must not hide why the run ended.

    Without them the stage counts as killed, which resumes just the same.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        log.info("the ending could not be recorded: %s", error)
