"""Checkpoints: whole or refused, with the previous one to fall back on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from nexus.core.files import sha256_file
from nexus.training.checkpoint import (
    CheckpointError,
    has_checkpoint,
    load_checkpoint,
    remove_checkpoints,
    restore_rng,
    rng_state,
    save_checkpoint,
    seed_everything,
    sibling,
    verify_checkpoint,
)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "checkpoints" / "checkpoint_latest.pt"


def payload(step: int) -> dict:
    return {"step": step, "weights": {"a": torch.full((50,), float(step)), "b": torch.arange(6).view(2, 3)}}


def test_everything_that_is_plain_comes_back(path):
    model = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    saved = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "values": [1, 2.5, "text", None, True, b"bytes", (1, 2), 2**80, float("inf")],
        "half": torch.ones(3, dtype=torch.bfloat16),
        3: {"nested": [{"deep": torch.tensor(1.5)}]},
    }
    save_checkpoint(path, saved)
    loaded = load_checkpoint(path)
    assert loaded["values"] == saved["values"]
    assert loaded["half"].dtype == torch.bfloat16
    assert loaded[3]["nested"][0]["deep"].item() == 1.5
    assert all(torch.equal(loaded["model"][name], tensor) for name, tensor in model.state_dict().items())
    torch.optim.AdamW(model.parameters()).load_state_dict(loaded["optimiser"])


def test_the_file_is_an_ordinary_torch_file(path):
    digest = save_checkpoint(path, payload(1))
    assert digest == sha256_file(path)
    assert torch.load(path, weights_only=True)["step"] == 1
    assert zipfile.ZipFile(path).testzip() is None


def test_latest_previous_and_best(path):
    for step in (1, 2, 3):
        save_checkpoint(path, payload(step), best=step == 2)
    steps = [load_checkpoint(file)["step"] for file in (path, sibling(path, "previous"), sibling(path, "best"))]
    assert steps == [3, 2, 2]
    assert sibling(path, "previous").samefile(sibling(path, "best")), "one file, two names"
    names = {"checkpoint_latest.pt", "checkpoint_previous.pt", "checkpoint_best.pt"}
    assert {file.name for file in path.parent.iterdir()} == names


def test_without_hard_links_they_are_copied(path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError("no hard links on this disk")

    monkeypatch.setattr(os, "link", refuse)
    for step in (1, 2):
        save_checkpoint(path, payload(step), best=True)
    assert load_checkpoint(sibling(path, "previous"))["step"] == 1
    assert load_checkpoint(sibling(path, "best"))["step"] == 2


def damage(file: Path, how: str) -> None:
    data = bytearray(file.read_bytes())
    if how == "bit":
        data[len(data) // 2] ^= 1
    elif how == "first":
        data[0] ^= 1
    elif how == "digest":
        data[-1] ^= 1
    elif how == "comment length":
        data[-79] ^= 1
    else:
        del data[len(data) // 2 :]
    file.unlink()  # a hard link would carry the damage to the other names
    file.write_bytes(data)


@pytest.mark.parametrize("how", ["bit", "first", "digest", "cut"])
def test_a_corrupt_file_is_named_and_the_previous_one_taken(path, caplog, how):
    save_checkpoint(path, payload(1))
    save_checkpoint(path, payload(2))
    damage(path, how)
    assert load_checkpoint(path)["step"] == 1
    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    assert "going on from" in caplog.text


def test_saving_after_a_fall_back_keeps_the_good_one(path):
    save_checkpoint(path, payload(1))
    save_checkpoint(path, payload(2))
    damage(path, "bit")
    load_checkpoint(path)
    save_checkpoint(path, payload(3))
    assert load_checkpoint(sibling(path, "previous"))["step"] == 1
    assert path.with_name("checkpoint_latest.pt.corrupt").exists(), "nothing is thrown away"


def test_a_missing_latest_falls_back_too(path, caplog):
    save_checkpoint(path, payload(1))
    save_checkpoint(path, payload(2))
    path.unlink()
    assert has_checkpoint(path)
    assert load_checkpoint(path)["step"] == 1
    assert "missing" in caplog.text


def test_nothing_whole_is_an_error_that_names_all(path):
    save_checkpoint(path, payload(1))
    save_checkpoint(path, payload(2))
    damage(path, "cut")
    damage(sibling(path, "previous"), "bit")
    with pytest.raises(CheckpointError, match=r"latest\.pt is cut short.*previous\.pt is corrupt.*delete"):
        load_checkpoint(path)


def test_nothing_there_is_not_found(path):
    assert not has_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path)


def test_a_file_of_another_program_is_refused_unread(path):
    path.parent.mkdir()
    torch.save({"step": 1}, path)
    assert "not written by this program" in (verify_checkpoint(path) or "")


@pytest.mark.parametrize(
    ("value", "name"),
    [(np.float64(1), "float64"), (np.zeros(2), "ndarray"), ({1, 2}, "set"), (Path("x"), "PosixPath"), (len, "builtin")],
    ids=str,
)
def test_what_loading_would_refuse_is_refused_at_once(path, value, name):
    with pytest.raises(CheckpointError, match=rf"payload\['deep'\]\[1\].*{name}"):
        save_checkpoint(path, {"deep": [0, value]})
    assert not path.exists()


def test_remove(path):
    save_checkpoint(path, payload(1), best=True)
    save_checkpoint(path, payload(2))
    remove_checkpoints(path)
    assert list(path.parent.iterdir()) == []


# The kernel refuses to write beyond the limit, as it does on a full disk.
FULL_DISK = """
import resource, sys, torch
from nexus.training.checkpoint import save_checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(sys.argv[1], {"step": 2, "big": torch.zeros(100_000)})
except OSError as error:
    print(error.errno)
"""


def test_a_full_disk_leaves_the_old_checkpoint(path):
    save_checkpoint(path, payload(1))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "27", done.stderr  # EFBIG
    assert load_checkpoint(path)["step"] == 1
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint_latest.pt"]


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), torch.rand(()).item(), random.gauss(0, 1), np.random.randn()]


def test_generators_go_on_where_they_were(path):
    seed_everything(3)
    draws()
    save_checkpoint(path, {"rng": rng_state()})
    expected = draws() + draws()
    seed_everything(4)
    restore_rng(load_checkpoint(path)["rng"])
    assert draws() + draws() == expected


def test_seeding_repeats_and_differs():
    seed_everything(1)
    first = draws()
    seed_everything(1)
    assert draws() == first
    seed_everything(2)
    assert draws() != first
