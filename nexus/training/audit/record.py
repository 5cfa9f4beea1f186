"""What is known of a run: losses of all steps, readings of some, facts; from memory, from a folder, or from a log.

The one idea: diagnosis reads a record and nothing else, so a live run, a finished one and another program's log are
judged by the same rules, with as much evidence as each has.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RECORD, METRICS = "audit.jsonl", "metrics.jsonl"
_NUMBER = r"[-+]?(?:nan|inf(?:inity)?|\d+\.?\d*(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?)"
_PAIR = re.compile(rf"(?P<key>[A-Za-z_][\w/ ]*?)['\"]?\s*[=:]\s*['\"]?(?P<value>{_NUMBER})(?![\w.])", re.IGNORECASE)
_NAMES = {
    "loss": "loss", "train_loss": "loss", "train/loss": "loss", "training_loss": "loss",
    "grad_norm": "grad_norm", "gradient_norm": "grad_norm", "gnorm": "grad_norm", "train/grad_norm": "grad_norm",
    "lr": "rate", "learning_rate": "rate", "train/learning_rate": "rate",
    "step": "step", "global_step": "step", "iter": "step", "iteration": "step",
    "eval_loss": "held_out", "val_loss": "held_out", "held_out_loss": "held_out", "validation_loss": "held_out",
}  # fmt: skip
ERRORS = (  # what a log says, by kind
    ("out of memory", re.compile(r"out of memory|can't allocate memory|bad_alloc", re.IGNORECASE)),
    ("shape mismatch", re.compile(
        r"size of tensor a|shapes cannot be multiplied|size mismatch|Expected tensor with|invalid for input of size"
    )),
    ("device mismatch", re.compile(r"on the same device|Expected all tensors to be on")),
    ("diverged", re.compile(r"TrainingDiverged|steps in a row without finite")),
)  # fmt: skip


@dataclass
class Record:
    """One run.

    Attributes:
        steps: for each step that is known ``step``, ``loss``, and perhaps ``grad_norm``, ``rate``, ``seconds``,
            ``data_seconds``.
        readings: of the auditor at some steps, see :mod:`nexus.training.audit.watch`.
        held_out: (step, loss) of evaluations.
        facts: what holds for the whole run: size of the vocabulary, whether the model sees the future, ...
        errors: (kind, line) that a log shows.
        source: where it comes from, for people.
    """

    steps: list[dict[str, float]] = field(default_factory=list)
    readings: list[dict[str, Any]] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    errors: list[tuple[str, str]] = field(default_factory=list)
    source: str = "memory"

    def series(self, name: str) -> list[float]:
        """The values of one quantity in the order of the steps, where it is known."""
        return [step[name] for step in self.steps if name in step]

    @property
    def losses(self) -> list[float]:
        """Training loss of each known step."""
        return self.series("loss")

    def add(self, row: Mapping[str, Any]) -> None:
        """Take one row of the record file. What a run that was taken up again did anew replaces what it had done."""
        kind, rest = row.get("kind"), {k: _number(v) for k, v in row.items() if k != "kind"}
        if kind == "steps":
            columns = [name for name in rest if isinstance(rest[name], list)]
            rows = zip(*(rest[name] for name in columns), strict=True)
            known = (dict(zip(columns, map(_number, values), strict=True)) for values in rows)
            new = [{name: float(value) for name, value in one.items() if value is not None} for one in known]
            first = min((row["step"] for row in new if "step" in row), default=math.inf)
            self.steps = [row for row in self.steps if row.get("step", 0) < first] + new
        elif kind == "reading":
            self.readings = [other for other in self.readings if other["step"] < rest["step"]] + [rest]
        elif kind == "held_out":
            step = int(rest["step"])
            self.held_out = [(s, loss) for s, loss in self.held_out if s < step] + [(step, float(rest["loss"]))]
        elif kind == "facts":
            self.facts |= rest


def _number(value: Any) -> Any:
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    return {k: _number(v) for k, v in value.items()} if isinstance(value, dict) else value


def storable(value: Any) -> Any:
    """For JSON, which has no NaN: non-finite numbers as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: storable(item) for key, item in value.items()}
    return [storable(item) for item in value] if isinstance(value, (list, tuple)) else value


def read_record(path: Path | str) -> Record:
    """Read a run's folder or a log.

    Args:
        path: a folder with the auditor's `audit.jsonl`, or with `metrics.jsonl` or a log below it; or a file: JSON
            lines, or text with ``name=value`` or ``name: value`` (also what transformers' trainer prints).

    Raises:
        FileNotFoundError: there is nothing. ValueError: nothing in it is a loss or an error that is known.
    """
    path = Path(path)
    files = _files(path) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise FileNotFoundError(f"{path}: no {RECORD}, {METRICS} or *.log there; give a run's folder or a log")
    record = Record(source=str(path))
    for file in files:
        _read_into(record, file)
    if not record.steps and not record.errors:
        raise ValueError(
            f"{path}: nothing in it reads as a loss; lines like 'step=10 loss=2.31' or JSON with "
            f'"loss" are understood'
        )
    return record


def _files(folder: Path) -> list[Path]:
    logs = sorted([*folder.glob("*.log"), *folder.glob("logs/*.log")])
    for name in (RECORD, METRICS):
        if (folder / name).is_file():
            return [folder / name, *logs]
    return logs


def _read_into(record: Record, file: Path) -> None:
    only_errors = bool(record.steps)  # a log beside the record holds the same losses once more
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        row = _json(line)
        if row is not None and "kind" in row:
            record.add(row)
            continue
        record.errors += [(kind, line.strip()[:300]) for kind, pattern in ERRORS if pattern.search(line)]
        if not only_errors:
            _add_line(record, row if row is not None else dict(_pairs(line)))


def _json(line: str) -> dict[str, Any] | None:
    text = line.strip()
    if not text.startswith("{"):
        return None
    for parse in (json.loads, ast.literal_eval):  # the second reads what transformers' trainer prints
        try:
            row = parse(text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(row, dict):
            return row
    return None


def _pairs(line: str) -> Iterator[tuple[str, float]]:
    for match in _PAIR.finditer(line):
        yield match["key"].strip().split(" ")[-1].lower(), float(match["value"])


def _add_line(record: Record, row: Mapping[str, Any]) -> None:
    known: dict[str, float] = {}
    for key, value in row.items():
        name = _NAMES.get(str(key).lower())
        if name is not None and name not in known:
            try:
                known[name] = float(value)
            except (TypeError, ValueError):
                continue
    step = int(known.get("step", len(record.steps) + 1))
    if "held_out" in known:
        record.held_out.append((step, known.pop("held_out")))
    if "loss" in known:
        record.steps.append({**known, "step": float(step)})


def rows_of(record: Record) -> Iterable[dict[str, Any]]:
    """The record as rows of its file."""
    names = ("step", "loss", "grad_norm", "rate", "seconds", "data_seconds")
    yield {"kind": "facts", **record.facts}
    yield {"kind": "steps", **{name: [step.get(name) for step in record.steps] for name in names}}
    yield from ({"kind": "reading", **reading} for reading in record.readings)
    yield from ({"kind": "held_out", "step": step, "loss": loss} for step, loss in record.held_out)
