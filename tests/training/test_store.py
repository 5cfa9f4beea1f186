"""Checkpoints are whole or named, in safetensors, the last ones and the best."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from nexus.training.checkpoint import CheckpointError
from nexus.training.plain import pack, same, unpack
from nexus.training.store import CheckpointStore, read_checkpoint

MODEL = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
STATE = {
    "optimizer": {"state": {0: {"step": torch.tensor(3.0), "m": torch.zeros(2)}}, "betas": (0.9, 0.99), "x": None},
    "names": ["é", b"\x00\xff"],
    "nan": float("nan"),
    "flag": True,
}


def test_a_state_comes_back_to_the_last_bit(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(7, MODEL, STATE)
    step, model, state = store.latest()
    assert step == 7
    assert same(model, MODEL)
    assert same(state, STATE)
    assert not list(tmp_path.rglob("*.pt"))


def test_tied_and_strided_tensors_can_be_stored(tmp_path):
    base = torch.arange(6.0)
    CheckpointStore(tmp_path).save(1, {"a": base, "b": base, "t": base.view(2, 3).t()}, {})
    model = CheckpointStore(tmp_path).latest().model
    assert torch.equal(model["t"], base.view(2, 3).t())


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "checkpoint.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_a_corrupt_checkpoint_is_named_and_passed_over(tmp_path, caplog, name, harm):
    store = CheckpointStore(tmp_path)
    store.save(1, MODEL, STATE)
    path = store.save(2, MODEL, STATE) / name
    data = bytearray(path.read_bytes())
    if harm == "gone":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data if harm == "flip" else data[:-7])
    assert store.latest().step == 1
    assert "step-00000002" in caplog.text
    assert name in caplog.text


def test_nothing_whole_is_an_error_and_nothing_at_all_is_none(tmp_path):
    store = CheckpointStore(tmp_path)
    assert store.latest() is None
    (store.save(1, MODEL, STATE) / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="delete the named folders to start anew"):
        store.latest()


def test_the_last_k_and_the_best_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep_last=2)
    for step in range(1, 7):
        store.save(step, MODEL, {}, best=step == 2)
    assert [folder.name[-1] for folder in store.folders()] == ["2", "5", "6"]
    assert store.best().step == 2
    store.save(7, MODEL, {}, best=True)
    assert [folder.name[-1] for folder in store.folders()] == ["6", "7"]


def test_what_is_no_plain_value_is_named():
    with pytest.raises(ValueError, match=r"state\.a\.1: is a set"):
        pack({"a": [1, {2}]}, {})
    assert unpack(pack((1, (2,)), {}), {}) == (1, (2,))


SAVER = """
import sys, torch
from nexus.training.store import CheckpointStore
store = CheckpointStore(sys.argv[1], keep_last=1)
for step in (1, 2):
    store.save(step, {"a": torch.full((64,), float(step))}, {"step": step}, best=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("point", ["folder.written", "file.before_rename:2", "*:3", "*:5", "*:7"])
def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path, point):
    environment = os.environ | {"NEXUS_KILL_AT": point, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SAVER, str(tmp_path)], env=environment, check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    found = CheckpointStore(tmp_path).latest()
    if found is not None:
        assert found.model["a"][0] == found.step == found.state["step"]
    for folder in CheckpointStore(tmp_path).folders():
        read_checkpoint(folder)
