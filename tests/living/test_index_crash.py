"""Killed while teaching and asking: the index that is found afterwards is the one that the journal's events give."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from nexus.living.facts import project
from nexus.living.journal import Journal
from nexus.living.passages import cut
from nexus.living.retriever import Retriever
from tests.living.test_journal import teach_until_killed

EMBEDDER = """
import numpy as np
class Letters:
    name = "letters"
    def __call__(self, texts):
        made = np.array([np.bincount([ord(c) % 64 for c in t], minlength=64) for t in texts], dtype=np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)
"""
TEACHER = EMBEDDER + """
import sys
from nexus.living.journal import Journal
from nexus.living.retriever import Retriever
journal = Journal(sys.argv[1])
retriever = Retriever(journal, Letters())
fact = None
for n in range(int(sys.argv[2]), 10**9):
    text = f"The height of box{n} is {n}. About box{n}: old maps, somewhere else"
    fact = journal.correct("ann", fact, text) if fact and n % 5 == 0 else journal.teach("ann", text)
    answer = retriever.ask("ann", f"What is the height of box{n}?")
    assert answer is not None and answer.text.startswith(f"{n}:")
    retriever.find("ann", f"the old maps about box{n}, what else?")  # makes and keeps vectors
    if n % 7 == 0:
        journal.forget("ann", fact)
        fact = None
    print(n, fact or 0, flush=True)
"""  # fmt: skip


def _letters():
    found: dict = {}
    exec(EMBEDDER, found)
    return found["Letters"]()


def _check(path: Path, acknowledged: dict[int, int], rng: random.Random) -> None:
    with Journal(path) as journal:
        journal.verify()
        embedder = _letters()
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
        acknowledged.update(teach_until_killed(path, first, rng.random() * 0.05, teacher=TEACHER))
        _check(path, acknowledged, rng)
    assert len(acknowledged) >= kills


def test_killed_at_random_points_the_index_is_that_of_the_events(tmp_path):
    _lives(tmp_path / "memory.db", 8, 0)


@pytest.mark.slow
def test_killed_at_a_thousand_random_points_with_the_index_on(tmp_path):
    for number in range(20):
        _lives(tmp_path / f"{number}.db", 50, number)


@pytest.mark.parametrize("point", ["journal.vectors:3", "journal.event:5", "journal.applied:5", "journal.erased:1"])
def test_killed_inside_a_write(tmp_path, point):
    said = teach_until_killed(tmp_path / "memory.db", 1, point=point, teacher=TEACHER)
    assert said
    _check(tmp_path / "memory.db", dict(said), random.Random(0))
