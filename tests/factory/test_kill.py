"""A pipeline that is killed anywhere, by SIGKILL, ends with the weights of one that never was."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nexus.training.checkpoint import load_checkpoint, rng_state, save_checkpoint
from tests.factory.zygote import TOY, Zygote, environment, running_zygote

STEPS = ("--set", "train_tokens=6")
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def zygote():
    with running_zygote() as made:
        yield made


@pytest.fixture(scope="module")
def uninterrupted(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("uninterrupted") / "root"
    assert zygote.run(root, *STEPS) == 0
    return release(root)


def release(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "nexus-release-v1").iterdir()}


def leftovers(root: Path) -> list[Path]:
    return list(root.rglob("*.tmp"))


@pytest.mark.parametrize("stage", ["cut", "train", "export"])
@pytest.mark.parametrize("place", ["before", "ran", "done"])
def test_killed_at_a_stage_boundary(zygote, uninterrupted, tmp_path, stage, place):
    assert zygote.run(tmp_path / "root", *STEPS, kill_at=f"stage.{stage}.{place}") == KILLED
    assert zygote.run(tmp_path / "root", *STEPS) == 0
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
    assert zygote.run(root, *STEPS, kill_at=point) == KILLED
    assert zygote.run(root, *STEPS) == 0
    assert release(root) == uninterrupted
    assert leftovers(root) == []


def test_killed_again_and_again(zygote, uninterrupted, tmp_path):
    """Every run dies at its 150th kill point (a checkpoint alone has 130); each gets further, and the last one ends."""
    root = tmp_path / "root"
    deaths = 0
    while (status := zygote.run(root, *STEPS, kill_at="*:150")) != 0:
        assert status == KILLED
        deaths += 1
        assert deaths < 10, "the pipeline makes no progress"
    assert deaths >= 2
    assert release(root) == uninterrupted


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_times(zygote, uninterrupted, tmp_path, seed):
    """The six steps alone take 0.3 s, so the first kill always hits."""
    draw = random.Random(seed)
    root = tmp_path / "root"
    statuses = []
    for _ in range(4):
        run = zygote.start(root, *STEPS, sleep=0.05)
        time.sleep(draw.uniform(0.01, 0.25))
        run.signal(signal.SIGKILL)
        statuses.append(run.end())
    assert statuses[0] == KILLED
    assert set(statuses) <= {0, KILLED}
    assert zygote.run(root, *STEPS) == 0
    assert release(root) == uninterrupted
    assert leftovers(root) == []


def test_killed_while_replacing_an_older_release(zygote, uninterrupted, tmp_path):
    root = tmp_path / "root"
    assert zygote.run(root, *STEPS) == 0
    (root / "nexus-release-v1" / "card.txt").write_text("damaged")
    assert zygote.run(root, *STEPS, kill_at="folder.between_renames") == KILLED
    assert zygote.run(root, *STEPS) == 0
    assert release(root) == uninterrupted
    assert leftovers(root) == []


STRIDES = {
    "file.half_written": 1,
    "file.written": 1,
    "file.before_rename": 1,
    "file.after_rename": 1,
    "folder.written": 1,
    "state.before_commit": 1,
    "checkpoint.piece": 40,  # a checkpoint is written in 130 of them
    "checkpoint.written": 1,
    "checkpoint.sealed": 1,
    "checkpoint.linked": 1,
    "checkpoint.kept": 1,
    "train.step": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("point", STRIDES)
def test_killed_at_every_visit_of_a_kill_point(zygote, uninterrupted, tmp_path, point):
    """First visit, second visit ... until a run never comes there so often and ends."""
    number, status = 1, KILLED
    while status == KILLED:
        root = tmp_path / str(number)
        status = zygote.run(root, *STEPS, kill_at=f"{point}:{number}")
        if status == KILLED:
            assert zygote.run(root, *STEPS) == 0
        assert release(root) == uninterrupted, f"killed at {point}, visit {number}"
        number += STRIDES[point]
    assert status == 0
    assert number > 2, "this point is never visited"


def test_a_fresh_interpreter_resumes_too(uninterrupted, tmp_path):
    """Nothing of the above hangs on forking: whole new processes do the same."""
    command = [sys.executable, str(TOY), "--root", str(tmp_path), *STEPS]
    killed = subprocess.run(command, env=environment(NEXUS_KILL_AT="train.step:5"), capture_output=True)
    assert killed.returncode == KILLED
    resumed = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert "[cut] done already, skipped" in resumed.stdout
    assert "[train] resumes (was killed)" in resumed.stdout
    assert release(tmp_path) == uninterrupted


def test_a_different_seed_gives_different_weights(zygote, uninterrupted, tmp_path):
    """The comparison above can fail."""
    assert zygote.run(tmp_path / "root", *STEPS, "--seed", "1") == 0
    assert release(tmp_path / "root")["weights.bin"] != uninterrupted["weights.bin"]


def test_a_state_that_lags_behind_the_files_would_be_noticed(zygote, uninterrupted, tmp_path):
    """A checkpoint without its generators' states resumes to other weights: bit equality is no accident."""
    root = tmp_path / "root"
    assert zygote.run(root, *STEPS, kill_at="train.step:5") == KILLED
    path = root / "checkpoints" / "checkpoint_latest.pt"
    saved = load_checkpoint(path)
    save_checkpoint(path, {**saved, "rng": rng_state()})
    assert zygote.run(root, *STEPS) == 0
    assert release(root)["weights.bin"] != uninterrupted["weights.bin"]
