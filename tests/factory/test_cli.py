"""The command line: options, errors in one line, reset, status, plan, and real signals to a real process."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nexus.training.checkpoint import load_checkpoint
from nexus_final import cli
from nexus_final.config import QUICK, RunConfig
from nexus_final.errors import UserError
from nexus_final.lock import RunLock
from nexus_final.paths import Paths
from nexus_final.runner import Context, Stage
from tests.factory.zygote import TOY, Zygote, environment, running_zygote


class Hello(Stage):
    """Write one file into each of the pipeline's folders."""

    def __init__(self, config: RunConfig, name: str = "hello", needs: tuple[str, ...] = ()) -> None:
        self.config, self.name, self.needs = config, name, needs

    def inputs(self, ctx: Context) -> dict:
        return ctx.config.subset("seed", "models", "datasets", "disk_reserve_gb")

    def run(self, ctx: Context) -> list[Path]:
        made = [folder / f"{self.name}.txt" for folder in (ctx.paths.memory, ctx.paths.checkpoints, ctx.paths.release)]
        for path in made:
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"seed {ctx.config.seed}")
        return made


def two(config: RunConfig) -> list[Stage]:
    return [Hello(config), Hello(config, "after", ("hello",))]


def call(root: Path, *arguments: str, build=two) -> int:
    return cli.main(["--root", str(root), *arguments], build)


def capture(config: RunConfig) -> list[Stage]:
    capture.config = config  # type: ignore[attr-defined]
    return []


def config_of(root: Path, *arguments: str) -> RunConfig:
    assert call(root, *arguments, build=capture) == 0
    return capture.config  # type: ignore[attr-defined]


# ---- options ---------------------------------------------------------------------------------------------------------


def test_options_become_the_configuration(tmp_path):
    found = config_of(tmp_path, "--models", "A, B,", "--datasets", "x/y,z", "--seed", "7", "--registry", "r.json")
    assert (found.models, found.datasets, found.seed, found.registry) == (("A", "B"), ("x/y", "z"), 7, Path("r.json"))
    assert not found.quick


def test_quick_shrinks_the_budgets_and_set_wins_over_it(tmp_path):
    usual, quick = config_of(tmp_path).to_dict(), config_of(tmp_path, "--quick").to_dict()
    assert {name for name in usual if usual[name] != quick[name]} == {"quick", *QUICK}
    numbers = [name for name, value in QUICK.items() if isinstance(value, int | float)]
    assert all(quick[name] < usual[name] for name in numbers)
    for name in numbers:
        assert config_of(tmp_path, "--quick", "--set", f"{name}=9").to_dict()[name] == 9


def test_set_reads_values_by_type(tmp_path):
    settings = ("models=A,B", "disk_reserve_gb=2", "quick=True", "seed=3")
    found = config_of(tmp_path, *(part for text in settings for part in ("--set", text)))
    assert (found.models, found.disk_reserve_gb, found.quick, found.seed) == (("A", "B"), 2, True, 3)
    assert config_of(tmp_path, "--models", "A", "--set", "models=none").models is None
    assert config_of(tmp_path, "--set", "datasets=123").datasets == ("123",)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--set", "seed"], r"error: --set: 'seed' has no '='\. cure: write --set key=value"),
        (["--set", "sed=1"], r"error: unknown key 'sed'; did you mean 'seed'\?"),
        (["--set", "seed=1.5"], r"error: seed = '1.5' doesn't fit; give int"),
        (["--set", "sequence_length=0"], r"error: sequence_length = 0 is not positive"),
        (["--seed", "-1"], r"error: seed = -1 is out of range"),
        (["--seed", "one"], r"error: command line: argument --seed: invalid int value: 'one'\. cure: see .*--help"),
        (["--models", ","], r"error: --models: ',' names nothing\. cure: name some"),
        (["--nonsense"], r"error: command line: unrecognized arguments: --nonsense\."),
        (["dance"], r"error: command line: argument command: invalid choice: 'dance'"),
        (["--reset", "nothing"], r"error: --reset: there is no stage 'nothing'\. cure: name one of hello, after"),
        (["--plan", "--reset"], r"error: --plan: changes nothing, so it can't reset\. cure:"),
        (["--root", "/nonexistent/place"], r"error: --root: /nonexistent/place is not a folder\. cure: make it"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, line):
    assert call(tmp_path, *arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.match(line, err), err


def test_all_mistakes_in_settings_are_told_at_once(tmp_path, capsys):
    assert call(tmp_path, "--set", "sed=1", "--set", "seed=soon") == 2
    assert capsys.readouterr().err.count("error: ") == 2


def test_a_users_error_from_the_stages_is_one_line_too(tmp_path, capsys):
    def build(config: RunConfig) -> list[Stage]:
        raise UserError("path", "/models/x is missing", "put the teacher there, or set its status to 'waiting'")

    assert call(tmp_path, build=build) == 2
    assert capsys.readouterr().err.startswith("error: path: /models/x is missing. cure: put")
    assert list(tmp_path.iterdir()) == [], "nothing was written"


def test_a_fault_of_the_program_is_shown_with_its_traceback(tmp_path, capsys):
    def build(config: RunConfig) -> list[Stage]:
        return [1 / 0]  # type: ignore[list-item]

    assert call(tmp_path, build=build) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_second_instance_is_refused(tmp_path, capsys):
    with RunLock(Paths(tmp_path).lock):
        assert call(tmp_path) == 2
    assert re.match(r"error: --root: a run \(pid \d+\) is at work in .*cure: wait", capsys.readouterr().err)


def test_a_corrupt_state_file_is_one_line_and_stays(tmp_path, capsys):
    state = Paths(tmp_path).state
    state.parent.mkdir()
    state.write_bytes(b"garbage " * 200)
    assert call(tmp_path) == 2
    expected = r"error: state file: .*cure: put a good copy there, or start anew with --reset"
    assert re.match(expected, capsys.readouterr().err)
    assert state.read_bytes() == b"garbage " * 200
    assert call(tmp_path, "--reset") == 0, "and the cure works"


# ---- reset -----------------------------------------------------------------------------------------------------------


def snapshot(root: Path) -> dict[str, str]:
    """Every file and link below `root`: its bytes, mode and time; logs grow by nature and are left out."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()
        stamp = status.st_mtime_ns if path.is_file() and not path.is_symlink() else 0
        found[name] = f"{digest} {status.st_mode:o} {stamp}"
    return found


def populate(root: Path) -> None:
    """A project with everything in it that a reset might be tempted by."""
    mine = """src/nexus_final/registry.json data/my-notes.jsonl results/report.json results/router_weights/w.bin
        nexus-release-v1.bak/model.bin nexus-release-v2/model.bin checkpoints.txt memory.md results/state.sqlite.bak
        results/mystate.sqlite .git/HEAD logs/old.log backup/memory/shard.bin backup/checkpoints/checkpoint_latest.pt"""
    theirs = """memory/shard.bin memory/deep/er/shard.bin checkpoints/checkpoint_latest.pt
        nexus-release-v1/hf/model.safetensors"""
    for name in f"{mine} {theirs}".split():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    (root / "memory" / "link").symlink_to(root / "data")
    (root / "memory" / "file link").symlink_to(root / "results" / "report.json")


PIPELINES = ("memory", "checkpoints", "nexus-release-v1")


def test_reset_deletes_what_is_promised_and_not_a_byte_else(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    populate(root)
    populate(outside)
    (root / "memory" / "way out").symlink_to(outside)
    before, elsewhere = snapshot(root), snapshot(outside)
    assert call(root, build=lambda config: []) == 0
    assert (root / "results" / "state.sqlite").exists()
    seen: list[dict[str, str]] = []

    class Look(Stage):
        name = "look"

        def run(self, ctx: Context) -> list[Path]:
            seen.append(snapshot(ctx.paths.root))
            assert len(ctx.store.stages()) == 1, "the state is a new one"
            return []

    assert call(root, "--reset", build=lambda config: [Look()]) == 0
    ours = re.compile(rf"({'|'.join(PIPELINES)})(/|$)|results/(state\.sqlite(-wal|-shm)?|run\.lock)$|logs/train\.log$")
    expected = {name: print_ for name, print_ in before.items() if not ours.match(name)}
    found = {name: print_ for name, print_ in seen[0].items() if not ours.match(name)}
    assert found == expected
    assert not any((root / name).exists() for name in PIPELINES)
    assert snapshot(outside) == elsewhere


def test_reset_runs_everything_anew(tmp_path, capsys):
    assert call(tmp_path) == 0
    assert call(tmp_path) == 0
    assert capsys.readouterr().out.count("done already, skipped") == 2
    assert call(tmp_path, "--reset") == 0
    assert "done already" not in capsys.readouterr().out
    assert (tmp_path / "memory" / "hello.txt").exists()


def test_reset_of_nothing(tmp_path, capsys):
    assert call(tmp_path, "--reset") == 0
    assert "there is nothing to delete" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["memory", "checkpoints", "nexus-release-v1", "results"])
@pytest.mark.parametrize("target", ["outside", "root/data"])
def test_reset_refuses_to_follow_a_link(tmp_path, capsys, name, target):
    root, outside = tmp_path / "root", tmp_path / "outside"
    populate(root)
    outside.mkdir()
    for folder in (outside, root / "data"):
        (folder / "state.sqlite").write_text("precious")
    (root / name).rename(root / f"{name}.real")
    (root / name).symlink_to(tmp_path / target, target_is_directory=True)
    before = snapshot(tmp_path)
    assert call(root, "--reset", "--yes") == 2
    assert re.match(r"error: --reset: .* leads to .*cure: empty that place by hand", capsys.readouterr().err)
    kept = {key: value for key, value in snapshot(tmp_path).items() if key in before}
    assert kept == before


def test_reset_is_refused_while_another_run_works(tmp_path, capsys):
    populate(tmp_path)
    with RunLock(Paths(tmp_path).lock):
        before = snapshot(tmp_path)
        assert call(tmp_path, "--reset", "--yes") == 2
        assert snapshot(tmp_path) == before
    assert "is at work" in capsys.readouterr().err


def test_reset_of_one_stage_takes_what_depends_on_it(tmp_path, capsys):
    call(tmp_path)
    capsys.readouterr()
    assert call(tmp_path, "--reset", "after") == 0
    out = capsys.readouterr().out
    assert "[hello] done already" in out
    assert "[after] runs (never ran)" in out
    assert call(tmp_path, "--reset", "hello") == 0
    assert "reset: hello, after" in capsys.readouterr().out


@pytest.fixture(scope="module")
def zygote():
    with running_zygote() as made:
        yield made


def at_a_terminal(zygote: Zygote, root: Path, answer: str, *arguments: str) -> tuple[int, str]:
    """Run the toy pipeline with a pseudo-terminal for its input and output."""
    master, slave = pty.openpty()
    run = zygote.start(root, "--set", "train_tokens=2", *arguments, terminal=os.ttyname(slave))
    os.write(master, answer.encode())
    shown: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # how a pseudo-terminal says that nobody writes any more
            while piece := os.read(master, 65536):
                shown.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    status = run.end()
    os.close(slave)
    reader.join()
    os.close(master)
    return status, b"".join(shown).decode()


def test_reset_asks_at_a_terminal(zygote, tmp_path):
    tmp_path = tmp_path / "root"
    populate(tmp_path)
    before = snapshot(tmp_path)
    status, shown = at_a_terminal(zygote, tmp_path, "n\n", "--reset")
    assert status == 0
    assert "delete this? [y/N]" in shown
    assert "nothing was deleted" in shown
    assert {key: value for key, value in snapshot(tmp_path).items() if key in before} == before
    status, shown = at_a_terminal(zygote, tmp_path, "y\n", "--reset")
    assert status == 0, shown
    assert not (tmp_path / "memory" / "shard.bin").exists()
    status, shown = at_a_terminal(zygote, tmp_path, "", "--reset", "--yes")
    assert status == 0
    assert "[y/N]" not in shown


# ---- plan and status -------------------------------------------------------------------------------------------------


def test_plan_shows_and_changes_nothing(tmp_path, capsys):
    assert call(tmp_path, "--plan") == 0
    assert list(tmp_path.iterdir()) == []
    out = capsys.readouterr().out
    assert re.search(r"hello\W+run\W+never ran", out)
    assert "nothing was changed" in out
    call(tmp_path)
    capsys.readouterr()
    assert call(tmp_path, "--plan", "--seed", "3") == 0
    out = capsys.readouterr().out
    assert re.search(r"hello\W+run\W+changed: seed", out)
    assert re.search(r"after\W+run\W+after hello", out)
    assert (tmp_path / "memory" / "hello.txt").read_text() == "seed 0"


def test_status_before_during_and_after(tmp_path, capsys):
    assert call(tmp_path, "status") == 0
    assert "nothing has run here yet" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    call(tmp_path)
    capsys.readouterr()
    assert call(tmp_path, "status") == 0
    out = capsys.readouterr().out
    assert re.search(r"hello\W+done", out)
    assert "no run is active" in out
    assert "pipeline done" in out
    with RunLock(Paths(tmp_path).lock):
        assert call(tmp_path, "status") == 0
    assert f"a run is active (pid {os.getpid()})" in capsys.readouterr().out


def test_status_does_without_torch(tmp_path):
    program = "import sys; from nexus_final.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", program, "--root", str(tmp_path), "status"]
    assert subprocess.run(command, env=environment(), capture_output=True).returncode == 0


# ---- a real process --------------------------------------------------------------------------------------------------

LONG = ("--set", "train_tokens=100000")


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "root"


def saved_step(root: Path) -> int:
    return load_checkpoint(Paths(root).checkpoint_latest)["step"]


@pytest.mark.parametrize(
    ("number", "exit_code", "line"),
    [
        (signal.SIGINT, 130, "stopped (Ctrl+C), all is saved; the same command"),
        (signal.SIGTERM, 143, "stopped (SIGTERM), all is saved; the same command"),
        (signal.SIGUSR1, 0, "stopped (pause), all is saved; the same command"),
    ],
    ids=["INT", "TERM", "USR1"],
)
def test_a_signal_finishes_the_step_saves_and_leaves(zygote, root, number, exit_code, line):
    run = zygote.start(root, *LONG, sleep=0.05)
    step = max(run.step() for _ in range(3))
    run.signal(number)
    assert run.end() == exit_code
    last = run.errors().splitlines()[-1]
    assert last.startswith(line)
    saved = saved_step(root)
    assert saved >= step
    again = zygote.start(root, *LONG, sleep=0.05)
    again.step()
    again.signal(signal.SIGINT)
    assert again.end() == 130
    steps = [text for text in again.text().splitlines() if text.startswith("step ")]
    assert steps[0] == f"step {saved + 1}", "the next run goes on with the next step"


def test_usr2_writes_a_checkpoint_and_goes_on(zygote, root):
    run = zygote.start(root, *LONG, sleep=0.05)
    asked = run.step()
    run.signal(signal.SIGUSR2)
    run.step()
    run.step()  # so the step that the signal met is over
    run.signal(signal.SIGINT)
    assert run.end() == 130
    with sqlite3.connect(Paths(root).state) as database:
        saved = [step for (step,) in database.execute("SELECT step FROM checkpoint ORDER BY id")]
    database.close()
    extra = list(saved)
    for regular in range(4, saved[-1] + 1, 4):
        extra.remove(regular)
    assert len(extra) == 2, f"one for USR2, one for the stop, beside the regular ones: {saved}"
    assert asked <= extra[0] < extra[1] == saved_step(root)


def test_ctrl_c_twice_leaves_now_even_inside_a_long_step(zygote, root):
    run = zygote.start(root, *LONG, sleep=600)
    run.step()
    run.signal(signal.SIGINT)
    while "once more leaves now" not in run.errors():
        time.sleep(0.01)
    assert not zygote.ask(op="ended", pid=run.pid)["ended"], "once: it waits for its step"
    run.signal(signal.SIGINT)
    assert run.end() == 130
    assert run.errors().splitlines()[-1].startswith("left at once; the same command goes on from the last save")
    assert "Traceback" not in run.errors()


def test_the_control_file_pauses(zygote, root):
    run = zygote.start(root, *LONG, sleep=0.05)
    run.step()
    Paths(root).control.write_text("pause")
    assert run.end() == 0
    assert run.errors().startswith("stopped (pause)")


def test_a_second_process_is_refused_and_does_not_disturb_the_first(zygote, root):
    run = zygote.start(root, *LONG, sleep=0.05)
    run.step()
    second = zygote.start(root, "--reset", "--yes")
    assert second.end() == 2
    assert second.errors().startswith(f"error: --root: a run (pid {run.pid}) is at work")
    run.step()
    run.signal(signal.SIGINT)
    assert run.end() == 130


# ---- a full disk -----------------------------------------------------------------------------------------------------


def test_a_checkpoint_that_does_not_fit_is_one_line_and_nothing_is_lost(zygote, root):
    """The kernel refuses to let any file grow beyond 100 kB: the state fits, a checkpoint doesn't."""
    run = zygote.start(root, "--set", "train_tokens=6", limit=100_000)
    assert run.end() == 2
    expected = r"error: disk: no room to write .*checkpoint_latest.*\. cure: free some and run the same command again\n"
    assert re.fullmatch(expected, run.errors())
    assert list(Paths(root).checkpoints.iterdir()) == [], "no half checkpoint lies there"
    run = zygote.start(root, "--set", "train_tokens=6")
    assert run.end() == 0, run.errors()
    assert "[cut] done already, skipped" in run.text()
    assert re.search(r"\[train\] resumes \(was (failed|killed)\)", run.text())


def test_a_state_that_does_not_fit_never_advises_a_reset(zygote, root):
    run = zygote.start(root, limit=3_000)
    assert run.end() == 2
    assert re.match(r"error: .*cure: ", run.errors())
    assert run.errors().count("\n") == 1
    assert "reset" not in run.errors()


SMALL_DISK = """
set -e
mount -t tmpfs -o size=700k tmpfs "$1"
head -c 400000 /dev/zero > "$1/ballast"
RUN && exit 99 || test $? = 2
echo ====
rm "$1/ballast"
RUN
"""


def test_a_disk_that_is_really_full(tmp_path):
    """A file system of 700 kB, mounted where only this test's processes see it."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine doesn't allow private mounts")
    run = f'"{sys.executable}" "{TOY}" --root "$1" --set train_tokens=6 --set disk_reserve_gb=0'
    command = ["unshare", "-rm", "sh", "-c", SMALL_DISK.replace("RUN", run), "sh", str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    full, room = done.stdout.split("====")
    assert re.fullmatch(
        r"error: disk: no room to write .*cure: free some and run the same command again\n", done.stderr
    )
    assert "[train] runs" in full
    assert "[cut] done already, skipped" in room
    assert "[export] done" in room
