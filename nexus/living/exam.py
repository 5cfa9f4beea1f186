"""The exam that weights sit before they may speak: what is asked, and the marks of one version.

The one idea: everything is measured with what a version would say itself, greedily, on the same questions as every
version before it, so that two versions are compared question by question. One pass over prompt and answer tells
whether greedy decoding would give exactly that answer, at a fraction of the price of decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nexus.core.state_space import HybridLM
from nexus.inference.generation import generate_many
from nexus.inference.quality import block_nll
from nexus.inference.release import Release
from nexus.living.lessons import Lesson
from nexus.training.sft import pad

Floats = NDArray[np.float64]
NEW = 24  # tokens of an answer that the release gives itself
ROWS = 16  # questions read at once


@dataclass(frozen=True)
class Question:
    """A prompt and the answer that is expected, both as ids; an empty answer: there is none that would be right."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Exam:
    """What every version of one release is asked.

    Attributes:
        held_out: (n, T) ids of text that nobody trains on.
        untouched: questions about what was never taught, with the right answers or the release's own.
        unknown: questions that nobody could answer, such as about people who do not exist.
    """

    held_out: Tensor
    untouched: tuple[Question, ...]
    unknown: tuple[Question, ...]


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What came out, question by question.

    Attributes:
        loss: (n,) mean negative log-likelihood in nats of each block of held-out text.
        untouched: (n,) whether each untouched question gets exactly its answer; ``kept``: (n,) the share of the
            answer's tokens that would still be chosen.
        untouched_score, unknown_score: how sure it is, see :class:`Read`.
        taught: (n,) whether each taught question gets exactly its answer; ``taught_fact``: (n,) whose fact it is.
    """

    loss: Floats
    untouched: NDArray[np.bool_]
    kept: Floats
    untouched_score: Floats
    unknown_score: Floats
    taught: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    taught_fact: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def sit(release: Release, exam: Exam, taught: Sequence[tuple[int, Question]] = ()) -> Marks:
    """The marks of the model as it is now (under :meth:`RowAdapters.using`, those of an adapter).

    Args:
        taught: number of the fact and question of each lesson that is to be asked.
    """
    untouched = read(release, exam.untouched)
    lessons = read(release, [question for _, question in taught])
    return Marks(
        loss=block_nll(release.model, exam.held_out).numpy(),
        untouched=untouched.exact,
        kept=untouched.kept,
        untouched_score=untouched.score,
        unknown_score=sureness(release, exam.unknown),
        taught=lessons.exact,
        taught_fact=np.array([fact for fact, _ in taught], dtype=np.int64),
    )


def sureness(release: Release, asked: Sequence[Question]) -> Floats:
    """(n,) how sure the model, as it is now, is of its own answers; the score of :class:`Read`."""
    said = answers(release, asked) if asked else []
    return read(release, [Question(q.prompt, answer) for q, answer in zip(asked, said, strict=True)]).score


@dataclass(frozen=True)
class Read:
    """Of each question: whether greedy decoding gives exactly its answer, and the share of the answer's tokens that
    would be chosen. ``score``: mean log-probability of the likeliest token at each place of the answer; of an answer
    that greedy decoding gives that is its own log-probability for each token."""

    exact: NDArray[np.bool_]
    kept: Floats
    score: Floats


@torch.inference_mode()
def read(release: Release, questions: Sequence[Question]) -> Read:
    """Read questions with their answers, those of like length together."""
    exact, kept, score = np.zeros(len(questions), dtype=bool), np.zeros(len(questions)), np.zeros(len(questions))
    order = sorted(range(len(questions)), key=lambda i: len(questions[i].prompt) + len(questions[i].answer))
    for start in range(0, len(order), ROWS):
        places = order[start : start + ROWS]
        same, sure = _read_together(release.model, [questions[i] for i in places])
        for place, hits, likely in zip(places, same, sure, strict=True):
            exact[place], kept[place], score[place] = hits.all(), hits.mean(), likely.mean()
    return Read(exact, kept, score)


def _read_together(model: HybridLM, batch: Sequence[Question]) -> tuple[list[NDArray[np.bool_]], list[Floats]]:
    """For each token of each answer: whether it is the likeliest, and the log-probability of the likeliest."""
    rows = pad([[*q.prompt, *q.answer] for q in batch], 0).to(model.device)
    hidden, _ = model.backbone(model.embed(rows))
    spans = [slice(len(q.prompt) - 1, len(q.prompt) + len(q.answer) - 1) for q in batch]
    logits = model.lm_head(torch.cat([hidden[row, span] for row, span in enumerate(spans)])).float()
    wanted = torch.tensor([token for q in batch for token in q.answer], device=model.device)
    best, at = logits.log_softmax(-1).max(-1)
    cuts = np.cumsum([len(q.answer) for q in batch])[:-1]
    hits = (at == wanted).cpu().numpy()
    return np.split(hits, cuts), np.split(best.double().cpu().numpy(), cuts)


def answers(release: Release, questions: Sequence[Question], new: int = NEW) -> list[tuple[int, ...]]:
    """The greedy answers of the model as it is now."""
    eos = release.generation.eos_ids
    found = generate_many(release.model, [q.prompt for q in questions], max_new_tokens=new, eos_ids=eos)
    return [tuple(answer) for answer in found]


def question(release: Release, asked: str, answer: str = "") -> Question:
    """A question as the release is asked it, in a chat if it has a template, and the answer with its end."""
    end = release.generation.eos_ids[:1]
    ids = (*release.tokenizer.encode(answer), *end) if answer else ()
    return Question(tuple(_prompt(release, asked)), ids)


def statement(release: Release, text: str) -> tuple[int, ...]:
    """A text as the release reads one by itself."""
    return tuple(release.tokenizer.encode(text, special=True))


def halfway(release: Release, text: str) -> int:
    """How many of a statement's ids are its first half."""
    return (len(statement(release, text)) + 1) // 2


def taught_questions(release: Release, lessons: Sequence[Lesson]) -> list[tuple[int, Question]]:
    """The lessons as an exam asks them; a statement, where no question was read from a fact, from its middle on."""
    asked = {lesson.fact for lesson in lessons if lesson.prompt}
    found = [(lesson.fact, question(release, lesson.prompt, lesson.answer)) for lesson in lessons if lesson.prompt]
    for lesson in lessons:
        ids, middle = statement(release, lesson.answer), halfway(release, lesson.answer)
        if lesson.fact not in asked and middle < len(ids):
            found.append((lesson.fact, Question(ids[:middle], ids[middle:])))
    return found


def _prompt(release: Release, asked: str) -> list[int]:
    if release.tokenizer.chat_template is None:
        return release.tokenizer.encode(f"{asked}\n", special=True)
    messages = [{"role": "user", "content": asked}]
    if release.generation.system:
        messages.insert(0, {"role": "system", "content": release.generation.system})
    return release.tokenizer.chat_ids(messages)
