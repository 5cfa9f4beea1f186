"""The stage engine: what is skipped, resumed and run, and why."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from nexus.core.files import atomic_write_text, temporary_beside
from nexus.training.control import Interrupted
from nexus_final.config import RunConfig
from nexus_final.errors import UserError
from nexus_final.lock import RunLock, holder
from nexus_final.paths import Paths
from nexus_final.progress import progress
from nexus_final.runner import Context, Decision, Estimate, Runner, Stage, dependants, open_context
from nexus_final.stage import source_version


class Note(Stage):
    """Write `results/NAME.txt` with what it was given and read; keep a diary of what the engine asked for."""

    def __init__(self, name: str, *needs: str, work: Callable[[Context], None] = lambda ctx: None) -> None:
        self.name, self.needs, self.work = name, needs, work
        self.given = "x"
        self.reads_upstream = True
        self.diary: list[str] = []
        self.cost = Estimate()

    def inputs(self, ctx: Context) -> dict:
        return {"given": self.given}

    def run(self, ctx: Context) -> list[Path]:
        self.diary.append("resume" if ctx.resuming else "run")
        self.work(ctx)
        parts = [path.read_text() for name in self.needs for path in ctx.artefacts(name)] if self.reads_upstream else []
        path = ctx.paths.results / f"{self.name}.txt"
        atomic_write_text(path, "".join([*parts, self.name, self.given]))
        return [path]

    def discard(self, ctx: Context) -> None:
        self.diary.append("discard")

    def estimate(self, ctx: Context) -> Estimate:
        return self.cost


def chain() -> list[Note]:
    """a <- b <- d, and c on its own."""
    return [Note("a"), Note("b", "a"), Note("c"), Note("d", "b")]


def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def go(root: Path, stages: list[Note], **settings) -> dict[str, str]:
    with open_context(RunConfig(root=root, **settings), console()) as ctx:
        decided = Runner(ctx).run(stages)
    return actions(decided)


def plan(root: Path, stages: list[Note]) -> list[Decision]:
    with open_context(RunConfig(root=root), console()) as ctx:
        return Runner(ctx).plan(stages)


def actions(decided: list[Decision]) -> dict[str, str]:
    return {found.stage.name: found.action for found in decided}


def test_first_run_then_all_skipped(tmp_path):
    stages = chain()
    assert go(tmp_path, stages) == dict.fromkeys("abcd", "run")
    assert [stage.diary for stage in stages] == [["discard", "run"]] * 4
    assert go(tmp_path, stages) == dict.fromkeys("abcd", "skip")
    assert (tmp_path / "results" / "d.txt").read_text() == "axbxdx"


def test_a_changed_input_runs_only_what_depends_on_it(tmp_path):
    stages = chain()
    go(tmp_path, stages)
    stages[1].given = "y"
    assert go(tmp_path, stages) == {"a": "skip", "b": "run", "c": "skip", "d": "run"}


def test_an_equal_result_spares_what_depends_on_it(tmp_path):
    stages = chain()
    stages[1].reads_upstream = False
    go(tmp_path, stages)
    stages[0].given = "y"
    assert go(tmp_path, stages) == {"a": "run", "b": "run", "c": "skip", "d": "skip"}


def test_a_new_code_version_runs_the_stage(tmp_path):
    stages = chain()
    go(tmp_path, stages)
    stages[2].version = "2"
    assert go(tmp_path, stages) == {"a": "skip", "b": "skip", "c": "run", "d": "skip"}


@pytest.mark.parametrize("how", ["delete", "change"])
def test_an_artefact_that_is_gone_or_changed_is_made_again(tmp_path, how):
    stages = chain()
    go(tmp_path, stages)
    path = tmp_path / "results" / "b.txt"
    path.unlink() if how == "delete" else path.write_text("touched")
    assert go(tmp_path, stages) == {"a": "skip", "b": "run", "c": "skip", "d": "skip"}
    assert path.read_text() == "axbx"


def test_a_moved_root_goes_on(tmp_path):
    stages = chain()
    go(tmp_path / "old", stages)
    shutil.move(tmp_path / "old", tmp_path / "new")
    assert go(tmp_path / "new", stages) == dict.fromkeys("abcd", "skip")


def test_an_interrupted_stage_resumes_and_a_changed_one_does_not(tmp_path):
    def leave(ctx: Context) -> None:
        ctx.control.request_stop("Ctrl+C", 130)
        ctx.control.check()

    stages = chain()
    stages[1].work = leave
    with pytest.raises(Interrupted):
        go(tmp_path, stages)
    stages[1].work = lambda ctx: None
    assert go(tmp_path, stages) == {"a": "skip", "b": "resume", "c": "run", "d": "run"}
    assert stages[1].diary == ["discard", "run", "resume"]

    stages[1].given, stages[1].work = "y", leave
    with pytest.raises(Interrupted):
        go(tmp_path, stages)
    stages[1].given, stages[1].work = "z", lambda ctx: None
    assert go(tmp_path, stages)["b"] == "run"
    assert stages[1].diary[-2:] == ["discard", "run"], "work of another fingerprint is not resumed"


def test_a_failed_stage_keeps_what_is_done_and_resumes(tmp_path):
    def fail(ctx: Context) -> None:
        raise RuntimeError("the teacher is gone")

    stages = chain()
    stages[2].work = fail
    with pytest.raises(RuntimeError, match="teacher is gone"):
        go(tmp_path, stages)
    log = (tmp_path / "logs" / "train.log").read_text()
    assert "Traceback" in log
    assert "the teacher is gone" in log
    [_, _, third, last] = plan(tmp_path, stages)
    assert (third.action, third.why) == ("resume", "was failed")
    assert (last.action, last.why) == ("run", "never ran")


def test_the_plan_says_why_and_what_it_costs_and_changes_nothing(tmp_path):
    stages = chain()
    stages[3].cost = Estimate(seconds=60, disk=5, memory=7)
    first = plan(tmp_path, stages)
    assert [found.why for found in first] == ["never ran", "after a", "never ran", "after b"]
    assert first[3].estimate.disk == 5
    go(tmp_path, stages)
    stages[0].given, stages[2].version = "y", "2"
    whys = [found.why for found in plan(tmp_path, stages)]
    assert whys == ["changed: given", "after a", "changed: its code", "after b"]
    stages[0].given, stages[2].version = "x", "1"
    (tmp_path / "results" / "d.txt").unlink()
    assert [found.why for found in plan(tmp_path, stages)] == ["done", "done", "done", "results/d.txt is missing"]
    assert all("run" not in stage.diary[2:] for stage in stages)


def test_the_order_of_stages_is_checked(tmp_path):
    with pytest.raises(AssertionError, match=r"'b' needs \['a'\]"):
        go(tmp_path, [Note("b", "a"), Note("a")])
    with pytest.raises(AssertionError, match="two stages are called 'a'"):
        go(tmp_path, [Note("a"), Note("a")])


def test_dependants():
    stages = chain()
    assert [stage.name for stage in dependants(stages, "a")] == ["a", "b", "d"]
    assert [stage.name for stage in dependants(stages, "c")] == ["c"]
    assert dependants(stages, "z") == []


# ---- disk ------------------------------------------------------------------------------------------------------------


def test_a_stage_that_would_fill_the_disk_does_not_start(tmp_path, monkeypatch):
    stages = chain()
    stages[1].cost = Estimate(disk=3_000_000_000)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 0, 2_000_000_000))
    with pytest.raises(UserError, match=r"disk: stage b needs 3\.50 GB and 2\.00 GB is free.*cure: free 1\.50 GB"):
        go(tmp_path, stages)
    assert stages[1].diary == []
    assert (tmp_path / "results" / "a.txt").exists()
    monkeypatch.undo()
    stages[1].cost = Estimate()
    assert go(tmp_path, stages)["a"] == "skip"


# ---- blocks ----------------------------------------------------------------------------------------------------------


def test_only_blocks_that_verify_are_kept(tmp_path, caplog):
    seen: list[list[str]] = []

    def work(ctx: Context) -> None:
        seen.append(list(ctx.blocks()))
        for key in "pqr":
            atomic_write_text(ctx.paths.memory / key, key)
            ctx.add_block(key, ctx.paths.memory / key)
        if len(seen) == 1:
            (ctx.paths.memory / "p").write_text("damaged")
            (ctx.paths.memory / "q").unlink()
            ctx.control.request_stop("pause", 0)
            ctx.control.check()

    stages = [Note("a", work=work)]
    with pytest.raises(Interrupted):
        go(tmp_path, stages)
    go(tmp_path, stages)
    assert seen == [[], ["r"]]
    assert caplog.text.count("missing or damaged") == 2


def test_asking_for_a_stage_that_is_not_needed_is_an_error(tmp_path):
    with pytest.raises(LookupError, match="list it in `needs`"):
        go(tmp_path, [Note("a", work=lambda ctx: ctx.artefacts("b") and None)])


# ---- what a killed run leaves behind -----------------------------------------------------------------------------


def test_leftovers_are_swept_in_our_folders_only(tmp_path):
    ours = [tmp_path / "memory" / "deep", tmp_path / "checkpoints", tmp_path / "results"]
    others = [tmp_path / "data", tmp_path / "src"]
    for folder in ours + others:
        folder.mkdir(parents=True)
    swept = [temporary_beside(folder / "x") for folder in ours]
    kept = [temporary_beside(folder / "x") for folder in others] + [temporary_beside(tmp_path / "notes")]
    for path in swept + kept:
        path.touch()
    release = temporary_beside(tmp_path / "nexus-release-v1")
    (release / "deep").mkdir(parents=True)
    go(tmp_path, chain())
    assert not any(path.exists() for path in [*swept, release])
    assert all(path.exists() for path in kept)


# ---- the lock ------------------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from nexus_final.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other_run(tmp_path):
    command = [sys.executable, "-c", HOLD, str(Paths(tmp_path).lock)]
    env = {"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_instance_is_refused_in_one_line(tmp_path, other_run):
    assert holder(Paths(tmp_path).lock) == other_run.pid
    with pytest.raises(UserError, match=rf"a run \(pid {other_run.pid}\) is at work.*cure: wait.*kill -INT"):
        go(tmp_path, chain())
    assert not (tmp_path / "results" / "state.sqlite").exists()


def test_the_lock_of_a_killed_run_is_taken_over(tmp_path, other_run):
    other_run.kill()
    other_run.wait()
    assert Paths(tmp_path).lock.read_text() == f"{other_run.pid}\n"
    assert holder(Paths(tmp_path).lock) is None
    assert go(tmp_path, chain()) == dict.fromkeys("abcd", "run")


def test_the_same_process_cannot_hold_it_twice(tmp_path):
    path = Paths(tmp_path).lock
    with RunLock(path):
        with pytest.raises(UserError, match="at work"), RunLock(path):
            pass
        assert holder(path) is not None
    with RunLock(path):
        pass
    assert holder(path) is None


# ---- progress and versions -------------------------------------------------------------------------------------------


def test_progress_off_a_terminal_is_a_line_at_every_tenth():
    out = console()
    with progress(out, "reading", 1000, done=500) as bar:
        for _ in range(500):
            bar.advance(1, note="loss 1.5")
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "reading: 500/1000 (50%) resumed"
    assert lines[-1] == "reading: 1000/1000 (100%) loss 1.5"
    assert len(lines) == 6


def test_slow_progress_is_shown_all_the_same(monkeypatch):
    clock = iter(range(0, 100_000, 31))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    out = console()
    with progress(out, "slow", 1000) as bar:
        bar.advance()
    assert out.file.getvalue() == "slow: 1/1000 (0%)\n"  # type: ignore[attr-defined]


def test_progress_at_a_terminal_is_a_bar():
    out = Console(file=io.StringIO(), width=120, force_terminal=True)
    with progress(out, "reading", 10) as bar:
        bar.advance(10, note="loss 1.5")
    assert "10/10" in out.file.getvalue()  # type: ignore[attr-defined]
    assert "loss 1.5" in out.file.getvalue()  # type: ignore[attr-defined]


def test_source_version_follows_the_source(tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    first = source_version(tmp_path / "a.py")
    assert source_version(tmp_path / "a.py") == first
    (tmp_path / "a.py").write_text("x = 2")
    assert source_version(tmp_path / "a.py") != first
    assert source_version("nexus_final") != source_version("nexus_final.runner")
    with pytest.raises(LookupError, match="no module"):
        source_version("nexus_final.nothing")
