"""The loggers: what each wrote is read back by another program's reader, also after a run was cut short."""

import io
import json
import math
import shutil

import pytest
import torch
from rich.console import Console
from torch import nn

from nexus.training.callbacks import ConsoleLogger, JSONLLogger, TensorBoardLogger
from nexus.training.config import TrainingConfig
from nexus.training.loop import Trainer
from nexus.training.objectives import square_loss

CONFIG = TrainingConfig(steps=6, learning_rate=1e-2, log_every=1, evaluate_every=3, save_every=2, keep_last=9)


def run(folder, *loggers, config=CONFIG):
    """A run of six steps; the same numbers each time."""
    torch.manual_seed(0)
    net, draw = nn.Linear(3, 2), torch.Generator().manual_seed(1)
    batches = [(torch.randn(4, 3, generator=draw), torch.randn(4, 2, generator=draw)) for _ in range(6)]
    look = lambda model: float(model.weight.detach().norm())  # noqa: E731
    trainer = Trainer(net, batches, config, loss=square_loss, evaluate=look, folder=folder, callbacks=loggers)
    return trainer.run()


def cut_short(folder):
    """As if the power had gone after step 6, before its checkpoint was written."""
    newest = sorted((folder / "checkpoints").glob("*6*"))
    assert newest
    for path in newest:
        shutil.rmtree(path)


def test_tensorboard_reads_what_the_run_wrote(tmp_path):
    from tensorboard.backend.event_processing import event_accumulator as reader

    first = run(tmp_path / "run", TensorBoardLogger(tmp_path / "board"))
    cut_short(tmp_path / "run")
    again = run(tmp_path / "run", TensorBoardLogger(tmp_path / "board"))
    assert [row["step"] for row in again if "loss" in row] == [1, 2, 3, 4, 5, 6]
    events = reader.EventAccumulator(str(tmp_path / "board")).Reload()
    assert {"loss", "grad_norm", "learning_rate", "tokens_per_second", "held_out_loss"} <= set(events.Tags()["scalars"])
    for key in ("loss", "held_out_loss"):
        written = [(event.step, event.value) for event in events.Scalars(key)]
        assert [step for step, _ in written] == [row["step"] for row in again if key in row]  # each step once
        for (_, value), row in zip(written, (row for row in first if key in row), strict=True):
            assert value == pytest.approx(row[key], rel=1e-6)


def test_json_lines_hold_each_row_once_and_no_nan(tmp_path):
    run(tmp_path / "run")
    cut_short(tmp_path / "run")
    history = run(tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row.get("loss")) for row in rows] == [(row["step"], row.get("loss")) for row in history]
    logger = JSONLLogger(tmp_path / "other.jsonl")
    run(None, logger, config=CONFIG.replace(steps=1, evaluate_every=0))
    logger._file = open(tmp_path / "other.jsonl", "a", encoding="utf-8")  # noqa: SIM115
    logger.on_step(None, {"step": 2, "loss": math.nan})
    logger.on_end(None)
    assert json.loads((tmp_path / "other.jsonl").read_text().splitlines()[-1])["loss"] == "nan"


def test_the_terminal_shows_progress_and_evaluations(tmp_path):
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    run(None, ConsoleLogger(console))
    said = console.file.getvalue()
    assert "step 3: held_out_loss" in said
    assert "6/6" in said
    assert "tokens/s" in said
