"""Answers to benchmarks/gate_sets.py's questions, kept as they come, so that a run goes on after a stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from gate_sets import TOGETHER

from nexus.core.files import atomic_write_text
from nexus.living.questions import Question
from nexus.living.speaking import Voice
from nexus.living.trace import Said

LISTS = ("logprobs", "entropies")  # of different length in each answer
STATES = ("question", "answer")


def ask(voice: Voice, questions: list[Question], folder: Path, seconds: float, first: int = 0) -> bool:
    """Answer questions that are not answered in the folder yet, for so long; returns whether any are left."""
    begun, new = time.monotonic(), 0
    for start in range(first, len(questions), TOGETHER):
        path = folder / f"{start:05}.npz"
        if path.is_file():
            continue
        if time.monotonic() - begun > seconds:
            return True
        part = questions[start : start + TOGETHER]
        save(path, part, voice.say_all([question.text for question in part]))
        new += len(part)
        pace = 60 * new / (time.monotonic() - begun)
        print(f"{start + len(part)} of {len(questions)} answered, {pace:.1f} a minute", flush=True)
    return False


def same_questions(folder: Path, draw: Callable[[], list[Question]]) -> list[Question]:
    """The questions of an earlier run into this folder; drawn and kept if there was none."""
    path = folder / "questions.json"
    if not path.is_file():
        atomic_write_text(path, json.dumps([asdict(question) for question in draw()]))
    return [_question(row) for row in json.loads(path.read_text(encoding="utf-8"))]


def save(path: Path, questions: list[Question], said: list[Said]) -> None:
    """One file of questions and answers."""
    rows = []
    for question, one in zip(questions, said, strict=True):
        kept = {f.name: getattr(one, f.name) for f in fields(one) if f.name not in STATES}
        rows.append(json.dumps({"asked": asdict(question), **{k: _plain(v) for k, v in kept.items()}}))
    states = {name: np.stack([getattr(one, name) for one in said]).astype(np.float32) for name in STATES}
    np.savez(path, rows=np.array(rows), **states)


def load(folder: Path) -> tuple[list[Question], list[Said]]:
    """All questions and answers of a folder, in order."""
    questions, said = [], []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            for row, *states in zip(file["rows"], *(file[name] for name in STATES), strict=True):
                content = json.loads(str(row))
                questions.append(_question(content.pop("asked")))
                said.append(_said(content, states))
    return questions, said


def _question(row: dict) -> Question:
    return Question(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})


def _said(content: dict, states: list[np.ndarray]) -> Said:
    content |= {name: np.array(content[name]) for name in LISTS}
    content |= {name: state.astype(np.float64) for name, state in zip(STATES, states, strict=True)}
    content |= {name: tuple(content[name]) for name in ("samples", "sample_logprobs")}
    return Said(**content)


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value
