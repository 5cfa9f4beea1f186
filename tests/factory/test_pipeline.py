"""The real stages from end to end on a tiny teacher: finished, skipped, released, killed and resumed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from nexus.inference.release import load_release
from nexus_final.report_keys import undocumented
from tests.factory import tiny_world

KILLED = -signal.SIGKILL
PIPELINE = Path(__file__).resolve().parents[2] / "scripts" / "nexus_pipeline.py"


def run(options: list[str], kill_at: str = "") -> int:
    return start(options, kill_at).wait(300)


def start(options: list[str], kill_at: str = "") -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NEXUS_KILL_AT": kill_at}
    command = [sys.executable, str(PIPELINE), *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    root = tmp_path_factory.mktemp("finished") / "root"
    root.mkdir()
    options = tiny_world.build(root)
    assert run(options) == 0
    return root, options


def weights(root: Path) -> dict[str, bytes]:
    release, made = root / "nexus-release-v1", root / "checkpoints"
    folders = (release, release / "hf", made / "student", made / "student_without_window")
    return {str(f.relative_to(root)): (f / "model.safetensors").read_bytes() for f in folders}


def test_everything_promised_is_there(finished):
    root, _ = finished
    for name in (
        "checkpoints/checkpoint_latest.pt", "results/router_weights", "results/report.json", "results/report.html",
        "results/profile/tiny/profile.json", "memory/tiny", "logs/train.log", "nexus-release-v1/README.md",
        "nexus-release-v1/hf/config.json",
    ):  # fmt: skip
        assert (root / name).exists(), name


def test_every_figure_is_documented(finished):
    root, _ = finished
    report = json.loads((root / "results" / "report.json").read_text())
    assert undocumented(report) == []
    assert report["perplexity"]["sets"]["held_out"]["32"]["windows"].keys() == {"0", "16", "64", "128", "256"}


def test_the_card_names_the_release(finished):
    root, _ = finished
    card = (root / "nexus-release-v1" / "README.md").read_text()
    assert "# nexus-release-v1\n" in card
    assert ".tmp" not in card


def test_a_finished_run_is_skipped(finished, capfd):
    root, options = finished
    before = (root / "nexus-release-v1" / "model.safetensors").stat().st_mtime_ns
    assert run(options) == 0
    assert (root / "nexus-release-v1" / "model.safetensors").stat().st_mtime_ns == before


def test_the_release_answers_here_and_in_transformers(finished):
    root, _ = finished
    release = load_release(root / "nexus-release-v1")
    ids = torch.tensor([release.tokenizer.encode("River stone cloud bird")])
    assert torch.isfinite(release.model(ids).logits).all()
    exported = AutoModelForCausalLM.from_pretrained(root / "nexus-release-v1" / "hf")
    assert torch.isfinite(exported(input_ids=ids).logits).all()


@pytest.mark.parametrize(
    "point",
    [
        "stage.profile.done",
        "librarian.block:4",
        "stage.extract.ran",
        "stage.train.before",
        "train.step:3",
        "checkpoint.piece:40",
        "train.part:student",
        pytest.param("checkpoint.sealed", marks=pytest.mark.slow),
        pytest.param("stage.train.ran", marks=pytest.mark.slow),
        pytest.param("stage.evaluate.done", marks=pytest.mark.slow),
        pytest.param("stage.release.before", marks=pytest.mark.slow),
        "folder.between_renames",
    ],
)
def test_killed_and_resumed_ends_with_the_same_weights(finished, tmp_path, point):
    root, options = finished
    options = world(finished, tmp_path)
    code = run(options, kill_at=point)
    assert code in ((KILLED, 0) if point == "folder.between_renames" else (KILLED,))
    assert run(options) == 0
    assert weights(tmp_path / "root") == weights(root)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_anywhere_ends_with_the_same_weights(finished, tmp_path, seed):
    root, _ = finished
    options = world(finished, tmp_path)
    process = start(options)
    time.sleep(random.Random(seed).uniform(2, 25))
    process.kill()
    process.wait()
    assert run(options) == 0
    assert weights(tmp_path / "root") == weights(root)


def world(finished: tuple[Path, list[str]], tmp_path: Path) -> list[str]:
    """A copy of the finished world without anything a run made; its options."""
    source, options = finished
    root = tmp_path / "root"
    root.mkdir()
    shutil.copytree(source / "data", root / "data")
    shutil.copy(source / "registry.json", root)
    place = options.index("--root") + 1
    registry = options.index("--registry") + 1
    changed = list(options)
    changed[place], changed[registry] = str(root), str(root / "registry.json")
    return changed
