"""What was acknowledged is there, whole, whatever kills the writer; what was forgotten is nowhere."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nexus.core.files import KILL_VARIABLE
from nexus.living.facts import project
from nexus.living.journal import GENESIS, Journal, NotErasedYet

ROOT = Path(__file__).resolve().parents[2]
TEACHER = """
import sys
from nexus.living.journal import Journal
journal = Journal(sys.argv[1])
fact = None
for n in range(int(sys.argv[2]), 10**9):
    if fact is None or n % 3:
        fact = journal.teach("ann", f"the number {n} was taught")
    else:
        fact = journal.correct("ann", fact, f"the number {n} was taught")
    print(n, fact, flush=True)  # the acknowledgement: only after the commit
"""


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "memory.db") as made:
        yield made


def _texts(journal: Journal, owner: str = "ann") -> list[str]:
    return [fact.text for fact in journal.facts(owner)]


# ---- killed while teaching ------------------------------------------------------------------------------------------


def _teach_until_killed(path: Path, first: int, seconds: float = 0.0, point: str = "") -> list[tuple[int, int]]:
    """Teach in a process of its own, kill it, and return what it had acknowledged: pairs of number and event."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({KILL_VARIABLE: point} if point else {})}
    command = [sys.executable, "-c", TEACHER, str(path), str(first)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = [] if point else [child.stdout.readline()]  # it is at work
        if not point:
            time.sleep(seconds)
            child.kill()
        said += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    return [(int(n), int(seq)) for n, seq in (line.split() for line in said if line.endswith("\n") and line.strip())]


def _check(path: Path, acknowledged: dict[int, int]) -> int:
    """Nothing acknowledged is lost, nothing is half applied; returns the next number to teach."""
    with Journal(path) as journal:
        count = journal.verify()  # the chain, every payload, and facts equal to their replay
        told = {e.seq: e.payload["text"] for e in journal.events("ann") if e.payload}
        for number, seq in acknowledged.items():
            assert told[seq] == f"the number {number} was taught"
        assert count - len(acknowledged) >= 0
    return count


def _kill_again_and_again(path: Path, kills: int) -> None:
    rng, acknowledged = random.Random(0), {}
    for _ in range(kills):
        first = max(acknowledged, default=-1) + 1
        acknowledged.update(_teach_until_killed(path, first, rng.random() * 0.05))
        count = _check(path, acknowledged)
    assert count >= len(acknowledged) >= kills  # each life got something done
    assert count - len(acknowledged) <= kills  # and at most one event a life was committed but not yet said


def test_killed_at_random_points_nothing_acknowledged_is_lost(tmp_path):
    _kill_again_and_again(tmp_path / "memory.db", 24)


@pytest.mark.slow
def test_killed_at_a_thousand_random_points(tmp_path):
    for _ in range(20):
        _kill_again_and_again(tmp_path / f"{_}.db", 50)


@pytest.mark.parametrize(
    ("point", "acknowledged", "committed"),
    [("journal.event:4", 3, 3), ("journal.applied:4", 3, 3), ("journal.committed:4", 3, 4)],
)
def test_killed_inside_an_event_it_is_there_whole_or_not_at_all(tmp_path, point, acknowledged, committed):
    said = _teach_until_killed(tmp_path / "memory.db", 0, point=point)
    assert len(said) == acknowledged
    assert _check(tmp_path / "memory.db", dict(said)) == committed


# ---- events and facts -----------------------------------------------------------------------------------------------


def test_teach_correct_and_roll_back(journal):
    first = journal.teach("ann", "The shop opens at nine.", "the door")
    second = journal.correct("ann", first, "The shop opens at ten.")
    journal.teach("ann", "Tom is a cat.")
    assert _texts(journal) == ["The shop opens at ten.", "Tom is a cat."]
    journal.rollback("ann", first)
    assert _texts(journal) == ["The shop opens at nine."]
    journal.teach("ann", "Tea is at four.")
    assert _texts(journal) == ["The shop opens at nine.", "Tea is at four."]
    journal.rollback("ann", second + 1)  # forward again: nothing was lost
    assert _texts(journal) == ["The shop opens at ten.", "Tom is a cat."]
    journal.rollback("ann", 0)
    assert _texts(journal) == []
    assert journal.verify() == 7


def test_owners_do_not_see_or_touch_each_other(journal):
    fact = journal.teach("ann", "The code of the door is 4711.")
    for call in (journal.forget, lambda o, f: journal.correct(o, f, "It is 0000.")):
        with pytest.raises(ValueError, match="bob has no 1"):
            call("bob", fact)
    journal.rollback("bob", 0)
    assert _texts(journal, "bob") == []
    assert len(_texts(journal)) == 1
    assert "4711" not in json.dumps(journal.export("bob"))


def test_forgotten_text_is_in_no_file_and_does_not_come_back(journal):
    secret = "The password is swordfish."
    journal.teach("ann", "Tom is a cat.")
    fact = journal.teach("ann", secret)
    version = journal.correct("ann", fact, "The password is swordfish-2.")
    journal.teach("ann", secret.upper())  # the same again: goes with it
    journal.forget("ann", version)
    files = list(journal.path.parent.glob("memory.db*"))
    assert not [file for file in files if b"swordfish" in file.read_bytes().lower()]
    journal.rollback("ann", version)
    assert _texts(journal) == ["Tom is a cat."]
    assert journal.verify() == 6
    with pytest.raises(ValueError, match="has no 2"):
        journal.forget("ann", fact)


def test_the_last_forgetting_is_each_owners_own(journal):
    assert journal.forgotten("ann") == 0
    for owner in ("ann", "bob"):
        journal.teach(owner, "Something.")
    assert journal.forget("ann", 1) == journal.forgotten("ann") == 3
    assert journal.forgotten("bob") == 0


def test_forget_reaches_texts_that_no_longer_hold(journal):
    fact = journal.teach("ann", "An old secret.")
    journal.rollback("ann", 0)
    journal.forget("ann", fact)
    journal.rollback("ann", fact)
    assert _texts(journal) == []
    assert b"old secret" not in journal.path.read_bytes()


def _reader(journal: Journal) -> sqlite3.Connection:
    """Another process in the middle of reading, as a connection of its own."""
    reader = sqlite3.connect(journal.path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM events").fetchone()[0]
    return reader


def _holds(journal: Journal, text: bytes) -> bool:
    return any(text in file.read_bytes() for file in journal.path.parent.glob("memory.db*"))


@pytest.mark.parametrize("how", ["erase", "teach", "open", "forget"])
def test_what_a_reader_keeps_from_being_erased_is_said_so_and_erased_as_soon_as_it_can(journal, monkeypatch, how):
    monkeypatch.setattr("nexus.living.journal.ERASE_SECONDS", 0.05)
    fact, other = journal.teach("ann", "The password is swordfish."), journal.teach("ann", "Tom is a cat.")
    reader = _reader(journal)
    with pytest.raises(NotErasedYet, match="not erased yet"):
        journal.forget("ann", fact)
    assert _texts(journal) == ["Tom is a cat."]  # forgotten it is
    assert not journal.erase(0.0)
    assert _holds(journal, b"swordfish")  # as was said
    reader.close()
    if how == "open":
        Journal(journal.path).close()
    else:
        {"erase": journal.erase, "teach": lambda: journal.teach("ann", "x"),
         "forget": lambda: journal.forget("ann", other)}[how]()  # fmt: skip
    assert not _holds(journal, b"swordfish")
    assert journal.erase()
    journal.verify()


def test_the_facts_are_rebuilt_from_the_events_alone(journal):
    for n in range(20):
        journal.teach("ann", f"fact {n}")
    journal.correct("ann", 3, "another fact")
    before = journal.facts("ann")
    with sqlite3.connect(journal.path) as outside:
        outside.execute("DELETE FROM facts WHERE seq > 5")
    outside.close()
    with pytest.raises(ValueError, match="facts of ann: differ"):
        journal.verify()
    journal.rebuild()
    assert journal.facts("ann") == before == list(project(journal.events("ann")).values())
    journal.verify()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE events SET payload = replace(payload, 'cat', 'dog') WHERE seq = 2", "event 2: its content"),
        ("UPDATE events SET owner = 'bob' WHERE seq = 2", "event 2: the chain"),
        ("UPDATE events SET at = at + 1 WHERE seq = 1", "event 1: the chain"),
        ("DELETE FROM events WHERE seq = 2", "event 3: the chain"),
        ("DELETE FROM events WHERE seq = 3; DELETE FROM facts WHERE seq = 3", "head: "),
    ],
)
def test_tampering_is_found(journal, change, found):
    for _ in range(3):
        journal.teach("ann", "Tom is a cat.")
    head = journal.head()
    with sqlite3.connect(journal.path) as outside:
        outside.executescript(change)
    outside.close()
    with pytest.raises(ValueError, match=found):
        journal.verify(head)


def test_head_and_version_of_an_empty_journal(journal):
    assert (journal.head(), journal.version(), journal.verify()) == (GENESIS, 0, 0)
    journal.feedback("ann", right=True, about="answer 7")
    assert journal.version() == 1
    assert journal.facts("ann") == []
    assert journal.head() != GENESIS


def test_two_writers_take_turns(journal):
    with Journal(journal.path) as other:
        for n in range(20):
            (journal if n % 2 else other).teach("ann", f"fact {n}")
        assert other.verify() == 20
        assert len(_texts(journal)) == 20


@pytest.mark.parametrize("text", ["", "  \n", "x" * 1_000_001])
def test_texts_that_are_no_texts_are_refused(journal, text):
    with pytest.raises(ValueError, match="text: "):
        journal.teach("ann", text)
    with pytest.raises(ValueError, match="owner: is empty"):
        journal.teach("", "Tom is a cat.")
    assert journal.version() == 0


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    (tmp_path / "other").write_bytes(b"no database at all, " * 100)
    with pytest.raises(ValueError, match="does not open as a journal"):
        Journal(tmp_path / "other")
