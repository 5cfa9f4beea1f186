"""The operator's manual, promise by promise: with a toy pipeline over the real engine, and with a whole tiny run."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nexus.inference.bridge import load_hf_folder
from nexus.training.control import RunControl
from nexus.training.guards import ThermalGuard
from nexus.training.oom import OomGuard
from nexus_final import cli
from nexus_final.config import RunConfig
from nexus_final.paths import Paths, default_root
from nexus_final.registry import DEFAULT_REGISTRY, load_registry, select_teachers
from tests.factory import tiny_world, toy_pipeline

ROOT = Path(__file__).resolve().parents[1]
TOY = ROOT / "tests" / "factory" / "toy_pipeline.py"
FEW_STEPS = ("--set", "train_tokens=2")


def _toy(root: Path, *arguments: str) -> int:
    return cli.main(["--root", str(root), *FEW_STEPS, *arguments], toy_pipeline.build_stages)


# ---- paths and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["run_nexus_master.sh", "run_tests.sh", ".ci/run"])
def test_the_scripts_can_be_executed(script):
    assert os.access(ROOT / script, os.X_OK)


def test_the_pipeline_script_takes_the_promised_options():
    command = [sys.executable, ROOT / "scripts" / "nexus_pipeline.py", "--help"]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    told = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert all(option in told for option in ("--models", "--datasets", "--reset"))


@pytest.mark.parametrize("datasets", ["all", "reasoning/AI4Math_IneqMath,code/python-stack"])
def test_the_manuals_calls_are_understood(datasets, tmp_path):
    seen: list[RunConfig] = []

    def build(config: RunConfig) -> list:
        seen.append(config)
        return []

    arguments = ["--root", str(tmp_path), "--models", "DeepSeek-V3,Step3-VL", "--datasets", datasets]
    assert cli.main(arguments, build) == 0
    assert seen[0].models == ("DeepSeek-V3", "Step3-VL")
    assert seen[0].datasets == tuple(datasets.split(","))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("nexus_final.sli_integrator", "SequentialLayerIntegrator"),
        ("nexus_final.profiler", "NIWTCore"),
        ("nexus_final.librarian", "Librarian"),
        ("nexus_final.trainer", "NexusTrainer"),
        ("nexus_final.train_router", "main"),
    ],
)
def test_the_magic_components_are_where_they_were_promised(module, name):
    assert (ROOT / "src" / f"{module.replace('.', '/')}.py").is_file()
    assert callable(getattr(importlib.import_module(module), name))


def test_stages_come_in_the_manuals_order():
    from nexus_final.stages import build_stages

    titles = [stage.title for stage in build_stages(RunConfig())]
    promised = ["1 Profiling", "1.5 Extraction", "2 Training", "3 Router"]
    assert [title for title in titles if title in promised] == promised


# ---- the roster ------------------------------------------------------------------------------------------------------


def test_registry_is_where_it_was_promised_with_its_fields():
    assert ROOT / "src" / "nexus_final" / "registry.json" == DEFAULT_REGISTRY
    for row in json.loads(DEFAULT_REGISTRY.read_text(encoding="utf-8")):
        assert {"teacher_id", "params", "path", "status"} <= row.keys()


def test_the_manuals_own_registry_is_read_and_only_ready_ones_run(tmp_path):
    rows = [
        {"teacher_id": "DeepSeek-V3", "params": "671B", "path": "/mnt/d/models/deepseek-v3", "status": "ready"},
        {"teacher_id": "Step3-VL", "params": "10B", "path": "/path/to/step3", "status": "planned"},
    ]
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(rows))
    assert [spec.teacher_id for spec in select_teachers(load_registry(path))] == ["DeepSeek-V3"]
    with pytest.raises(ValueError, match="Step3-VL"):
        select_teachers(load_registry(path), "Step3-VL")


# ---- stopping, going on, starting over -------------------------------------------------------------------------------


def test_finished_stages_are_skipped(tmp_path, capsys):
    assert _toy(tmp_path) == 0
    assert "skipped" not in capsys.readouterr().out
    assert _toy(tmp_path) == 0
    assert capsys.readouterr().out.count("skipped") == len(toy_pipeline.build_stages(RunConfig()))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGUSR1, 0)], ids=["Ctrl+C", "USR1"])
def test_stopped_and_run_again_it_ends_as_if_it_had_never_stopped(tmp_path, number, code):
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "TOY_SLEEP": "0.05"}
    arguments = ["--set", "train_tokens=12"]
    command = [sys.executable, TOY, "--root", tmp_path, *arguments]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not process.stdout.readline().startswith("step 2"):
            assert process.poll() is None
        process.send_signal(number)
        _, told = process.communicate()
    assert process.returncode == code
    assert "goes on from here" in told
    assert Paths(tmp_path).checkpoint_latest == tmp_path / "checkpoints" / "checkpoint_latest.pt"
    assert Paths(tmp_path).checkpoint_latest.exists()
    whole = tmp_path / "uninterrupted"
    whole.mkdir()
    for root in (tmp_path, whole):
        assert cli.main(["--root", str(root), *arguments], toy_pipeline.build_stages) == 0
    weights = [(root / "nexus-release-v1" / "weights.bin").read_bytes() for root in (tmp_path, whole)]
    assert weights[0] == weights[1]


def test_usr2_saves_a_checkpoint_and_goes_on():
    saved: list[int] = []
    with RunControl() as control:
        os.kill(os.getpid(), signal.SIGUSR2)
        control.safe_point(lambda: saved.append(1))
        control.safe_point(lambda: saved.append(2))
    assert saved == [1]


def test_reset_deletes_the_promised_four_and_nothing_else(tmp_path):
    assert _toy(tmp_path) == 0
    paths = Paths(tmp_path)
    gone = (paths.memory, paths.checkpoints, paths.release)
    kept = [tmp_path / "data" / "mine.txt", tmp_path / "results" / "mine.txt", tmp_path / "notes.txt"]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    marks = [folder / "old.txt" for folder in gone]
    for mark in marks:
        mark.touch()
    assert _toy(tmp_path, "--reset") == 0  # no terminal here, so it does not ask
    assert not [mark for mark in marks if mark.exists()]
    assert all(path.read_text() == "mine" for path in kept)


@pytest.mark.parametrize(("answer", "deleted"), [("n", False), ("", False), ("y", True)])
def test_reset_asks_first_at_a_terminal(tmp_path, monkeypatch, answer, deleted):
    assert _toy(tmp_path) == 0
    mark = tmp_path / "memory" / "old.txt"
    mark.touch()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert _toy(tmp_path, "--reset") == 0
    assert mark.exists() is not deleted


def test_everything_lies_below_the_project_and_training_writes_its_log(tmp_path):
    assert default_root() == ROOT
    assert _toy(tmp_path) == 0
    assert "train" in (tmp_path / "logs" / "train.log").read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} <= {
        "memory",
        "checkpoints",
        "results",
        "nexus-release-v1",
        "logs",
    }


# ---- protection ------------------------------------------------------------------------------------------------------


def test_above_83_degrees_it_pauses_30_seconds():
    heat = iter([83.0, 83.5, 70.0])
    waited: list[float] = []

    class Impatient(RunControl):
        def wait(self, seconds: float) -> bool:
            waited.append(seconds)
            return False

    guard = ThermalGuard(Impatient(), sensor=lambda: next(heat))
    assert guard.check() == 0  # 83 itself is allowed
    assert guard.check() == 30
    assert waited == [30]


def test_out_of_memory_clears_up_and_carries_on_with_the_same_samples():
    done: list[int] = []

    def step(piece: list[int], weight: float) -> None:
        if len(piece) > 2:
            raise torch.OutOfMemoryError("out of memory")
        done.extend(piece)

    assert OomGuard().run([1, 2, 3, 4, 5], step, reset=done.clear) == 5
    assert done == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("billions", "needed_gb", "free_gb", "streams"), [(60.1, 1, 1000, True), (60, 1, 1000, False), (10, 20, 16, True)]
)
def test_sli_switches_on_by_itself(billions, needed_gb, free_gb, streams):
    from nexus_final.sli_integrator import should_stream

    assert should_stream(billions, needed_gb * 10**9, free_gb * 10**9)[0] is streams


def test_sli_streams_layer_by_layer_within_20_gb_and_deletes_shards_as_it_goes(tmp_path):
    from nexus_final.sli_integrator import SequentialLayerIntegrator
    from nexus_final.teacher_source import BlockRequest, Sparsity

    assert inspect.signature(SequentialLayerIntegrator).parameters["spool_bytes"].default == 20 * 10**9
    tiny_world.build(tmp_path)
    teacher, work = tmp_path / "teacher", tmp_path / "work"
    ids = torch.arange(32).reshape(2, 16)
    wanted = load_hf_folder(teacher)(ids).logits
    streamed = SequentialLayerIntegrator(teacher, work, memory_bytes=0, consume=True, cache=tmp_path)
    torch.testing.assert_close(streamed.logits(ids), wanted, atol=1e-4, rtol=1e-4)
    assert len(list(streamed.sparse_blocks([BlockRequest(ids, 0)], Sparsity()))) == 1
    assert not list(teacher.glob("*.safetensors"))
    assert not [path for path in work.rglob("*") if path.is_file()]


# ---- the whole way, with a tiny teacher -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """Root folder and options of a finished run with a random teacher and random words."""
    root = tmp_path_factory.mktemp("run")
    options = tiny_world.build(root)
    assert cli.main(options) == 0
    return root, options


@pytest.mark.parametrize(
    "path",
    ["results/router_weights", "checkpoints/checkpoint_latest.pt", "nexus-release-v1/config.json", "logs/train.log"],
)
def test_a_run_leaves_what_was_promised(tiny_run, path):
    assert (tiny_run[0] / path).exists()


def test_a_teacher_added_while_paused_is_picked_up(tiny_run, capsys):
    root, options = tiny_run
    registry = root / "registry.json"
    rows = json.loads(registry.read_text(encoding="utf-8"))
    registry.write_text(json.dumps([*rows, {**rows[0], "teacher_id": "second"}]), encoding="utf-8")
    assert cli.main([*options, "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "1.5 Extraction" in line and "run" in line], lines
