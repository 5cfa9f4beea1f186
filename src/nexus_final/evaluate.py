"""The examination: perplexity of held-out prose, answers by generation, chat answers; teacher and student alike.

The one idea: both sit the same exam in the same run, every answer is kept for inspection, and what is compared is
paired, block by block and question by question, so that the intervals are those of the difference.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nexus.core.files import atomic_write_text
from nexus.core.state_space import HybridLM
from nexus.data.blocks import Tokens
from nexus.data.packages import Progress as Fetching
from nexus.data.text import Split
from nexus.inference.generation import Progress as Counted
from nexus.inference.generation import generate_many
from nexus.inference.quality import block_nll, judge
from nexus.inference.text import TextTokenizer, ends_line
from nexus.training.precision import Precision, mixed_precision
from nexus_final.generation_sets import GenerationSet, generation_sets
from nexus_final.prompts import chat_prompts

Progress = Callable[[str, int, int], None]  # (what, done, in all); may raise to leave

LENGTHS = (512, 2_048)
CHAT_TOKENS = 192
DRAWS = 2_000  # of the bootstrap


@dataclass(frozen=True)
class Exam:
    """What is asked: sets of questions, and chat prompts whose answers may have ``chat_tokens`` tokens."""

    sets: tuple[GenerationSet, ...]
    chat: tuple[str, ...]
    chat_tokens: int = CHAT_TOKENS


@dataclass
class Answers:
    """What one model said to an exam."""

    lines: dict[str, list[str]] = field(default_factory=dict)  # by set, in the order of its questions
    right: dict[str, list[bool]] = field(default_factory=dict)
    chat: list[str] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)  # of the chat answers, see `nexus.inference.quality.judge`
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def sound(self) -> list[bool]:
        """Whether each chat answer neither loops nor breaks off."""
        return [verdict == "good" for verdict in self.verdicts]


def make_exam(
    split: Split, questions: int = 160, chat: int = 100, cache: Path | None = None, fetching: Fetching | None = None
) -> Exam:
    """The standard exam: `heldout` to choose by, `test` for the final figures."""
    sets = generation_sets(split, questions, cache, fetching)
    return Exam(sets, tuple(chat_prompts(split, chat, cache, fetching)))


# ---- sitting it -----------------------------------------------------------------------------------------------------


def evaluate_models(
    models: Mapping[str, HybridLM],
    tokenizer: TextTokenizer,
    exam: Exam,
    *,
    eos_ids: Collection[int] = (),
    folder: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Let "teacher" and "student" sit an exam.

    Args:
        models: with these two names.
        eos_ids: ids that end a chat answer; the tokenizer's end token if empty.
        folder: where every answer is written, ``answers_NAME.jsonl``.

    Returns:
        ``report``: the part `generation` of `results/report.json`; ``details``: intervals, verdicts and seconds.
    """
    sat = {}
    for name in ("teacher", "student"):
        sat[name] = answer_exam(models[name], tokenizer, exam, eos_ids=eos_ids, progress=_named(progress, name))
        if folder is not None:
            write_answers(sat[name], exam, folder / f"answers_{name}.jsonl")
    return compare_answers(sat["teacher"], sat["student"], exam, window=models["student"].backbone.window)


def answer_exam(
    model: HybridLM,
    tokenizer: TextTokenizer,
    exam: Exam,
    *,
    eos_ids: Collection[int] = (),
    progress: Progress | None = None,
) -> Answers:
    """Let one model answer everything, greedily."""
    answers = Answers()
    lines_end = {*ends_line(tokenizer), *tokenizer.eos_ids}
    for asked in exam.sets:
        start = time.perf_counter()
        said = _answer_set(model, tokenizer, asked, lines_end, progress)
        answers.lines[asked.name] = said
        answers.right[asked.name] = [
            asked.right(line, question.answer) for line, question in zip(said, asked.questions, strict=True)
        ]
        answers.seconds[asked.name] = time.perf_counter() - start
    start = time.perf_counter()
    _answer_chat(model, tokenizer, exam, eos_ids or tokenizer.eos_ids, answers, progress)
    answers.seconds["chat"] = time.perf_counter() - start
    return answers


def _answer_set(
    model: HybridLM, tokenizer: TextTokenizer, asked: GenerationSet, ends: Collection[int], progress: Progress | None
) -> list[str]:
    said = generate_many(
        model,
        [tokenizer.encode(question.prompt) for question in asked.questions],
        max_new_tokens=asked.max_new_tokens,
        eos_ids=ends,
        progress=_counted(progress, asked.name),
    )
    return [tokenizer.decode(ids).lstrip().partition("\n")[0].strip() for ids in said]


def _answer_chat(
    model: HybridLM,
    tokenizer: TextTokenizer,
    exam: Exam,
    eos_ids: Collection[int],
    answers: Answers,
    progress: Progress | None,
) -> None:
    said = generate_many(
        model,
        [tokenizer.chat_ids([{"role": "user", "content": prompt}]) for prompt in exam.chat],
        max_new_tokens=exam.chat_tokens,
        eos_ids=eos_ids,
        progress=_counted(progress, "chat"),
    )
    answers.chat = [tokenizer.decode(ids) for ids in said]
    answers.verdicts = [
        judge(ids, eos_ids) if text.strip() else "empty" for ids, text in zip(said, answers.chat, strict=True)
    ]


def write_answers(answers: Answers, exam: Exam, path: Path) -> None:
    """Write every answer beside what was asked, a JSON object a line."""
    rows: list[dict[str, Any]] = []
    for asked in exam.sets:
        for question, said, right in zip(
            asked.questions, answers.lines[asked.name], answers.right[asked.name], strict=True
        ):
            asked_last = question.prompt.rpartition("\n\n")[2]  # without the book or the examples in front
            rows.append({"set": asked.name, "id": question.id, "asked": asked_last, "answer": question.answer,
                         "said": said, "right": right})  # fmt: skip
    for prompt, said, verdict in zip(exam.chat, answers.chat, answers.verdicts, strict=True):
        rows.append({"set": "chat", "asked": prompt, "said": said, "verdict": verdict})
    atomic_write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


# ---- comparing ------------------------------------------------------------------------------------------------------


def compare_answers(teacher: Answers, student: Answers, exam: Exam, window: int) -> dict[str, Any]:
    """Figures of two models that sat the same exam; see :func:`evaluate_models`."""
    sets, kept = {}, {}
    for asked in exam.sets:
        theirs, ours = teacher.right[asked.name], student.right[asked.name]
        sets[asked.name] = {**_shares(theirs, ours), "chance": asked.chance}
        kept[asked.name] = retained_interval(theirs, ours)
    kept["chat"] = retained_interval(teacher.sound, student.sound)
    both = {"teacher": teacher, "student": student}
    return {
        "report": {"window": window, "sets": sets, "chat": _shares(teacher.sound, student.sound)},
        "details": {
            "retained_interval": {name: interval and list(interval) for name, interval in kept.items()},
            "chat_tokens": exam.chat_tokens,
            "verdicts": {name: dict(sorted(Counter(answers.verdicts).items())) for name, answers in both.items()},
            "seconds": {name: answers.seconds for name, answers in both.items()},
        },
    }


def prose_nll(
    model: HybridLM,
    tokens: Tokens | Tensor,
    lengths: Sequence[int] = LENGTHS,
    batch_tokens: int = 4_096,
    progress: Progress | None = None,
    precision: Precision = "float32",
) -> dict[int, Tensor]:
    """Mean negative log-likelihood in nats of every block, by length, of ``tokens`` (n, the longest length).

    The shorter blocks are pieces of the longer ones, so that all lengths are of the same text.

    Raises:
        ValueError: a length does not divide the width of ``tokens``.
    """
    ids = torch.as_tensor(tokens).long()
    wrong = [length for length in lengths if ids.shape[1] % length]
    if wrong:
        raise ValueError(f"lengths: {wrong} do not divide the {ids.shape[1]} tokens of a block; pack longer blocks")
    found = {}
    for length in lengths:
        blocks = ids.reshape(-1, length)
        counted = _counted(progress, f"{length} tokens")
        with mixed_precision(model.device, precision):
            found[length] = block_nll(model, blocks, max(1, batch_tokens // length), counted)
    return found


def compare_prose(teacher: Mapping[int, Tensor], windows: Mapping[int, Mapping[int, Tensor]]) -> dict[str, Any]:
    """One set of the part `perplexity` of the report.

    Args:
        teacher: of :func:`prose_nll`.
        windows: the same of the student, by the width of its window.
    """
    return {
        str(length): {
            "teacher": math.exp(theirs.mean()),
            "blocks": len(theirs),
            "windows": {str(window): _cell(theirs, ours[length]) for window, ours in windows.items()},
        }
        for length, theirs in teacher.items()
    }


def ratio_interval(teacher: Tensor, student: Tensor, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the ratio of two perplexities, from the nats of the same blocks, by paired bootstrap."""
    means = (student - teacher).numpy()[_draws(len(teacher), seed)].mean(1)
    low, high = np.exp(np.quantile(means, (0.025, 0.975)))
    return float(low), float(high)


def retained_interval(teacher: Sequence[bool], student: Sequence[bool], seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the student's share of right answers over the teacher's, by paired bootstrap over questions.

    None where the teacher has too few right answers for a ratio.
    """
    draws = _draws(len(teacher), seed)
    theirs, ours = (np.asarray(right, dtype=float)[draws].sum(1) for right in (teacher, student))
    if not theirs.size or not theirs.all():
        return None
    low, high = np.quantile(ours / theirs, (0.025, 0.975))
    return float(low), float(high)


def _draws(n: int, seed: int) -> np.ndarray:
    """Indices (DRAWS, n) of samples with replacement."""
    return np.random.default_rng(seed).integers(0, max(n, 1), (DRAWS, n))


def _cell(teacher: Tensor, student: Tensor) -> dict[str, float]:
    low, high = ratio_interval(teacher, student)
    ratio = math.exp(student.mean() - teacher.mean())
    return {"ppl": math.exp(student.mean()), "ratio": ratio, "ratio_low": low, "ratio_high": high}


def _shares(teacher: Sequence[bool], student: Sequence[bool]) -> dict[str, Any]:
    n = len(teacher)
    theirs, ours = sum(teacher), sum(student)
    shares = {"teacher": theirs / n, "student": ours / n} if n else {"teacher": 0.0, "student": 0.0}
    return {"n": n, **shares, "retained": ours / theirs if theirs else None}


def _counted(progress: Progress | None, what: str) -> Counted | None:
    """Progress of ``what``."""
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)


def _named(progress: Progress | None, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda what, done, total: progress(f"{name}, {what}", done, total)
