"""A pipeline that is killed anywhere, by SIGKILL, ends with the weights of one that never was."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nexus.training.checkpoint import load_checkpoint, rng_state, save_checkpoint

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TOY = HERE / "toy_pipeline.py"
ARGUMENTS = ["--set", "train_tokens=6"]
KILLED = -signal.SIGKILL


def environment() -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if key != "NEXUS_KILL_AT"}
    return {**clean, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}


class Zygote:
    """Starts runs of the toy pipeline as forked processes."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, str(TOY), "--zygote"]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment())

    def run(
        self, root: Path, kill_at: str = "", kill_after: float = 0, sleep: float = 0, arguments: tuple[str, ...] = ()
    ) -> int:
        """Run in `root` and return the exit status, -9 for killed."""
        root.mkdir(parents=True, exist_ok=True)
        env = {"NEXUS_KILL_AT": kill_at, "TOY_SLEEP": str(sleep)}
        output = root.with_name(f"{root.name}.output")
        request = {"argv": ["--root", str(root), *ARGUMENTS, *arguments], "env": env, "kill_after": kill_after}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({**request, "output": str(output)}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["status"]

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def zygote():
    made = Zygote()
    yield made
    made.close()


@pytest.fixture(scope="module")
def uninterrupted(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("uninterrupted") / "root"
    assert zygote.run(root) == 0
    return release(root)


def release(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "nexus-release-v1").iterdir()}


def leftovers(root: Path) -> list[Path]:
    return list(root.rglob("*.tmp"))


@pytest.mark.parametrize("stage", ["cut", "train", "export"])
@pytest.mark.parametrize("place", ["before", "ran", "done"])
def test_killed_at_a_stage_boundary(zygote, uninterrupted, tmp_path, stage, place):
    assert zygote.run(tmp_path / "root", kill_at=f"stage.{stage}.{place}") == KILLED
    assert zygote.run(tmp_path / "root") == 0
    assert release(tmp_path / "root") == uninterrupted


@pytest.mark.parametrize(
    "point",
    [
        "file.half_written:2",  # inside a block
        "file.before_rename:2",
        "file.after_rename:2",
        "state.before_commit:4",  # the block is whole, its row isn't
        "checkpoint.piece:9",  # inside the first checkpoint
        "checkpoint.written",
        "checkpoint.sealed:2",
        "checkpoint.linked",
        "checkpoint.kept:2",
        "train.step:5",
        "folder.written",
    ],
)
def test_killed_inside_a_write(zygote, uninterrupted, tmp_path, point):
    root = tmp_path / "root"
    assert zygote.run(root, kill_at=point) == KILLED
    assert zygote.run(root) == 0
    assert release(root) == uninterrupted
    assert leftovers(root) == []


def test_killed_again_and_again(zygote, uninterrupted, tmp_path):
    """Every run dies at its 60th kill point (a checkpoint alone has about 20); each gets further than the one before, and the last one ends."""
    root = tmp_path / "root"
    deaths = 0
    while (status := zygote.run(root, kill_at="*:60")) != 0:
        assert status == KILLED
        deaths += 1
        assert deaths < 30, "the pipeline makes no progress"
    assert deaths >= 2
    assert release(root) == uninterrupted


def test_killed_at_random_times(zygote, uninterrupted, tmp_path):
    draw = random.Random(0)
    root = tmp_path / "root"
    killed = 0
    for _ in range(12):
        status = zygote.run(root, kill_after=draw.uniform(0.01, 0.4), sleep=0.02)
        assert status in (0, KILLED)
        killed += status == KILLED
    assert killed > 0
    assert zygote.run(root) == 0
    assert release(root) == uninterrupted


def test_killed_while_replacing_an_older_release(zygote, uninterrupted, tmp_path):
    root = tmp_path / "root"
    assert zygote.run(root) == 0
    (root / "nexus-release-v1" / "card.txt").write_text("damaged")
    assert zygote.run(root, kill_at="folder.between_renames") == KILLED
    assert zygote.run(root) == 0
    assert release(root) == uninterrupted
    assert leftovers(root) == []


@pytest.mark.slow
def test_killed_at_every_kill_point(zygote, uninterrupted, tmp_path):
    """All of them, one run each, until a run has no more points to die at."""
    number = 1
    while True:
        root = tmp_path / str(number)
        status = zygote.run(root, kill_at=f"*:{number}")
        if status == KILLED:
            assert zygote.run(root) == 0
        assert release(root) == uninterrupted, f"killed at point {number}"
        if status == 0:
            break
        number += 1
    assert number > 60


def test_a_fresh_interpreter_resumes_too(uninterrupted, tmp_path):
    """Nothing of the above hangs on forking: whole new processes do the same."""
    command = [sys.executable, str(TOY), "--root", str(tmp_path), *ARGUMENTS]
    killed = subprocess.run(command, env={**environment(), "NEXUS_KILL_AT": "train.step:5"}, capture_output=True)
    assert killed.returncode == KILLED
    resumed = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert "[cut] done already, skipped" in resumed.stdout
    assert "[train] resumes (was killed)" in resumed.stdout
    assert release(tmp_path) == uninterrupted


def test_a_different_seed_gives_different_weights(zygote, uninterrupted, tmp_path):
    """The comparison above can fail."""
    assert zygote.run(tmp_path / "root", arguments=("--seed", "1")) == 0
    assert release(tmp_path / "root")["weights.bin"] != uninterrupted["weights.bin"]


def test_a_state_that_lags_behind_the_files_would_be_noticed(zygote, uninterrupted, tmp_path):
    """A checkpoint without its generators' states resumes to other weights: bit equality is no accident."""
    root = tmp_path / "root"
    assert zygote.run(root, kill_at="train.step:5") == KILLED
    path = root / "checkpoints" / "checkpoint_latest.pt"
    saved = load_checkpoint(path)
    save_checkpoint(path, {**saved, "rng": rng_state()})
    assert zygote.run(root) == 0
    assert release(root)["weights.bin"] != uninterrupted["weights.bin"]
