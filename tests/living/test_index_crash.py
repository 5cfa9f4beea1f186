"""Killed while teaching and asking: the index that is found afterwards is the one that the journal's events give."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from nexus.core.files import KILL_VARIABLE
from nexus.living.facts import project
from nexus.living.journal import Journal
from nexus.living.judge import Judge
from nexus.living.passages import cut
from nexus.living.retriever import Retriever


class Letters:
    """A text as the counts of its letters: cheap, and the same in every process."""

    name = "letters"

    def __call__(self, texts):
        made = np.array([np.bincount([ord(c) % 64 for c in text], minlength=64) for text in texts], dtype=np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture(scope="module", autouse=True)
def _learnt():
    Judge(Letters()).prepare()  # once, and not in every process that is killed


def _teach(path: Path, first: int, said: int) -> None:
    """Teach, ask, correct and forget until killed; a line a fact, once all of it is acknowledged."""
    journal = Journal(path)
    retriever, fact = Retriever(journal, Letters()), 0
    for n in range(first, 10**9):
        text = f"The height of box{n} is {n}. About box{n}: old maps, somewhere else"
        fact = journal.correct("ann", fact, text) if fact and n % 5 == 0 else journal.teach("ann", text)
        answer = retriever.ask("ann", f"What is the height of box{n}?")  # the very next request knows it
        assert answer is not None
        assert answer.text.startswith(f"{n}:")
        retriever.find("ann", f"the old maps about box{n}, what else?")  # makes and keeps vectors
        if n % 7 == 0:
            journal.forget("ann", fact)
            fact = 0
        os.write(said, f"{n} {fact}\n".encode())


def _life(path: Path, first: int, seconds: float = 0.0, point: str = "") -> dict[int, int]:
    """Teach in a forked process, kill it, and return what it had acknowledged: number and event (0: forgotten)."""
    inlet, outlet = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.environ.update({KILL_VARIABLE: point} if point else {})
            _teach(path, first, outlet)
        finally:
            os._exit(1)
    os.close(outlet)
    with open(inlet, encoding="utf-8") as said:
        lines = [] if point else [said.readline()]  # it is at work
        if not point:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        lines += said.readlines()
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    pairs = (line.split() for line in lines if line.endswith("\n") and line.strip())
    return {int(number): int(event) for number, event in pairs}


def _check(path: Path, acknowledged: dict[int, int], rng: random.Random) -> None:
    with Journal(path) as journal:
        journal.verify()
        embedder = Letters()
        retriever = Retriever(journal, embedder)
        facts = project(journal.events("ann"))
        wanted = [(p.fact.seq, p.start, p.end) for fact in facts.values() for p in cut(fact)]
        assert retriever.index("ann").contents() == sorted(wanted)
        kept = journal._db.execute("SELECT seq, start, vector FROM vectors").fetchall()
        assert {seq for seq, _, _ in kept} <= facts.keys()
        assert len(kept) >= 2 * len(facts) - 4  # every passage but those of the last word before the kill
        for seq, start, vector in rng.sample(kept, min(10, len(kept))):
            passage = next(p for p in cut(facts[seq]) if p.start == start)
            assert np.array_equal(np.frombuffer(vector, dtype=np.float32), embedder([passage.text])[0])
        holding = [n for n, seq in acknowledged.items() if seq in facts]
        for n in rng.sample(holding, min(10, len(holding))):
            answer = retriever.ask("ann", f"What is the height of box{n}?")
            assert answer is not None
            assert answer.text.startswith(f"{n}:")
        forgotten = [n for n, seq in acknowledged.items() if not seq]
        assert not [n for n in forgotten[-20:] if retriever.ask("ann", f"What is the height of box{n}?")]


def _lives(path: Path, kills: int, seed: int) -> None:
    rng, acknowledged = random.Random(seed), dict[int, int]()
    for _ in range(kills):
        first = max(acknowledged, default=-1) + 1
        acknowledged.update(_life(path, first, rng.random() * 0.05))
        _check(path, acknowledged, rng)
    assert len(acknowledged) >= kills


def test_killed_at_random_points_the_index_is_that_of_the_events(tmp_path):
    _lives(tmp_path / "memory.db", 16, 0)


@pytest.mark.slow
def test_killed_at_a_thousand_random_points_with_the_index_on(tmp_path):
    for number in range(20):
        _lives(tmp_path / f"{number}.db", 50, number)


@pytest.mark.parametrize("point", ["journal.vectors:3", "journal.event:5", "journal.applied:5", "journal.erased:1"])
def test_killed_inside_a_write(tmp_path, point):
    said = _life(tmp_path / "memory.db", 1, point=point)
    assert said
    _check(tmp_path / "memory.db", said, random.Random(0))
