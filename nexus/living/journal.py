"""The journal: everything that was taught, corrected, forgotten or said about answers, in a chain that shows tampering.

The one idea: events are appended to one SQLite table, each with the hash of the one before it, and what a reader calls
"facts" is computed from them (nexus/living/facts.py). A call returns only after the commit has reached the disk (WAL,
synchronous=FULL). The chain covers a salted hash of each payload and not the payload, so that `forget` can erase text
and salt for good while the chain still verifies and nobody can guess the text from its hash.

Tables: events(seq, at, owner, kind, payload, salt, digest, previous, hash); facts(seq, owner, text, source) is the
projection, written in the same transaction. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nexus.core.files import kill_point
from nexus.living.facts import Fact, fold, project, retained

KINDS = ("teach", "correct", "forget", "feedback", "rollback")
GENESIS = "0" * 64
WAIT_SECONDS = 30.0  # for another writer
MAX_TEXT = 1_000_000  # characters of one teaching
HELD = "SELECT 1 FROM facts WHERE seq = ? AND owner = ?"
FORGETTABLE = "SELECT 1 FROM events WHERE seq = ? AND owner = ? AND kind IN ('teach', 'correct') AND payload NOT NULL"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, at REAL NOT NULL, owner TEXT NOT NULL, kind TEXT NOT NULL,
    payload TEXT, salt TEXT, digest TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS facts (seq INTEGER PRIMARY KEY, owner TEXT NOT NULL, text TEXT NOT NULL,
    source TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS facts_of_owner ON facts (owner);
"""


@dataclass(frozen=True)
class Event:
    """One line of the journal; `payload` is None once it was forgotten."""

    seq: int
    at: float
    owner: str
    kind: str
    payload: dict[str, Any] | None
    salt: str | None
    digest: str
    previous: str
    hash: str


_FIELDS = tuple(field.name for field in fields(Event))  # the table's columns, in order


class Journal:
    """An open journal file; made if it is not there.

    Use it as a context manager or call :meth:`close`. Several processes may write one file; they take turns.

    Raises:
        ValueError: the file is no journal.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise ValueError(f"{self.path} does not open as a journal ({error}). cure: name another file") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was acknowledged is in it already."""
        self._db.close()

    # ---- writing: each returns the committed event's number ---------------------------------------------------------

    def teach(self, owner: str, text: str, source: str = "") -> int:
        """Take a fact or a document for this owner; the returned number is its name."""
        return self._append(owner, "teach", {"text": _text(text), "source": source})

    def correct(self, owner: str, fact: int, text: str) -> int:
        """Put a text in a fact's place; the old one stays in the history."""
        return self._append(owner, "correct", {"fact": fact, "text": _text(text), "source": ""}, HELD, fact)

    def forget(self, owner: str, fact: int) -> int:
        """Erase a fact, all it was corrected from and to, and the same text taught again, from every page of the file.

        Texts that no longer hold can be forgotten as well.
        """
        seq = self._append(owner, "forget", {"fact": fact}, FORGETTABLE, fact)
        self._scrub()
        return seq

    def feedback(self, owner: str, right: bool, about: str = "") -> int:
        """Note whether an answer was right; `about` names it."""
        return self._append(owner, "feedback", {"right": bool(right), "about": about})

    def rollback(self, owner: str, version: int) -> int:
        """Bring back the owner's facts as they were after event `version` (0: none), less what was forgotten since."""
        last = self.version()
        if not 0 <= version <= last:
            raise ValueError(f"version: there is no {version}. cure: give a number from 0 to {last}")
        return self._append(owner, "rollback", {"version": version})

    # ---- reading ----------------------------------------------------------------------------------------------------

    def version(self) -> int:
        """The number of the last event; 0 for an empty journal."""
        return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])

    def head(self) -> str:
        """The hash of the last event, which stands for the whole history: what a certificate is bound to."""
        row = self._db.execute("SELECT hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return row[0] if row else GENESIS

    def events(self, owner: str | None = None) -> Iterator[Event]:
        """All events in order, or one owner's."""
        where, values = ("", ()) if owner is None else ("WHERE owner = ?", (owner,))
        for row in self._db.execute(f"SELECT * FROM events {where} ORDER BY seq", values):
            parts = dict(zip(_FIELDS, row, strict=True))
            payload = parts.pop("payload")
            yield Event(payload=None if payload is None else json.loads(payload), **parts)

    def facts(self, owner: str) -> list[Fact]:
        """What holds for this owner now, oldest first."""
        rows = self._db.execute("SELECT seq, text, source FROM facts WHERE owner = ? ORDER BY seq", (owner,))
        return [Fact(*row) for row in rows]

    def export(self, owner: str) -> dict[str, Any]:
        """Everything that is held about an owner, as plain values for JSON."""
        kept = [{"seq": e.seq, "at": e.at, "kind": e.kind, "payload": e.payload} for e in self.events(owner)]
        return {"owner": owner, "facts": [fact.to_dict() for fact in self.facts(owner)], "events": kept}

    def verify(self, head: str | None = None) -> int:
        """Check the chain, every payload and the projection; return how many events there are.

        Args:
            head: a hash from :meth:`head` that was kept elsewhere; the journal must contain it (a chain alone cannot
                show that its end was cut off).

        Raises:
            ValueError: something was changed from outside; the message says which event.
        """
        self._db.execute("BEGIN")  # one state of the file for the whole check
        try:
            return self._verify(head)
        finally:
            self._db.execute("ROLLBACK")

    def rebuild(self) -> None:
        """Compute the facts anew from the events."""
        with self._transaction():
            self._write_facts({owner: project(self.events(owner)) for owner in self._owners()})

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _append(self, owner: str, kind: str, payload: Mapping[str, Any], where: str = "", fact: int = 0) -> int:
        if not owner:
            raise ValueError("owner: is empty. cure: say whose memory it is")
        text, salt = _canonical(payload), os.urandom(16).hex()
        with self._transaction():
            if where and not self._db.execute(where, (fact, owner)).fetchone():
                raise ValueError(f"fact: {owner} has no {fact}. cure: nexus memory log lists them")
            seq, at, previous = self.version() + 1, time.time(), self.head()
            digest = _digest(salt, text)
            link = _link(seq, at, owner, kind, digest, previous)
            row = (seq, at, owner, kind, text, salt, digest, previous, link)
            self._db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            kill_point("journal.event")
            self._apply(Event(seq, at, owner, kind, dict(payload), salt, digest, previous, link))
            kill_point("journal.applied")
        kill_point("journal.committed")
        return seq

    def _apply(self, event: Event) -> None:
        """Bring the facts table up to date; teaching touches its own rows only."""
        if event.kind == "feedback":
            return
        assert event.payload is not None
        if event.kind in ("teach", "correct"):
            self._db.execute("DELETE FROM facts WHERE seq = ?", (event.payload.get("fact"),))
            self._insert(event.owner, fold({}, event)[event.seq])
            return
        if event.kind == "forget":
            for seq in retained(self.events(event.owner), event.payload["fact"]):
                self._db.execute("UPDATE events SET payload = NULL, salt = NULL WHERE seq = ?", (seq,))
        self._write_facts({event.owner: project(self.events(event.owner))})

    def _write_facts(self, owners: Mapping[str, Mapping[int, Fact]]) -> None:
        for owner, facts in owners.items():
            self._db.execute("DELETE FROM facts WHERE owner = ?", (owner,))
            for fact in facts.values():
                self._insert(owner, fact)

    def _insert(self, owner: str, fact: Fact) -> None:
        self._db.execute("INSERT INTO facts VALUES (?, ?, ?, ?)", (fact.seq, owner, fact.text, fact.source))

    def _owners(self) -> list[str]:
        return [row[0] for row in self._db.execute("SELECT DISTINCT owner FROM events ORDER BY owner")]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _scrub(self) -> None:
        """The write-ahead log still holds the erased text: bring the file up to date and empty the log."""
        busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise ValueError("forget: the fact is gone, its text stays in the log while another process reads. "
                             "cure: close that process; the next forget or the last close erases it")  # fmt: skip

    def _verify(self, head: str | None) -> int:
        previous, count, seen = GENESIS, 0, {GENESIS}
        for event in self.events():
            count += 1
            link = _link(event.seq, event.at, event.owner, event.kind, event.digest, event.previous)
            if (event.seq, event.previous, event.hash) != (count, previous, link):
                raise ValueError(f"event {event.seq}: the chain is broken here. cure: restore the file from a copy")
            if event.payload is not None and _digest(event.salt or "", _canonical(event.payload)) != event.digest:
                raise ValueError(f"event {event.seq}: its content was changed. cure: restore the file from a copy")
            previous = event.hash
            seen.add(previous)
        if head is not None and head not in seen:
            raise ValueError(f"head: {head[:12]} is not in the journal, its end is missing. cure: restore a copy")
        for owner in self._owners():
            if list(project(self.events(owner)).values()) != self.facts(owner):
                raise ValueError(f"facts of {owner}: differ from the events. cure: rebuild() makes them anew")
        return count


def _text(text: str) -> str:
    if not text.strip() or len(text) > MAX_TEXT:
        problem = "is empty" if not text.strip() else f"has {len(text)} characters"
        raise ValueError(f"text: {problem}. cure: give 1 to {MAX_TEXT} characters")
    return text


def _canonical(payload: Mapping[str, Any]) -> str:
    return json.dumps(payload, ensure_ascii=False, sort_keys=True)


def _digest(salt: str, text: str) -> str:
    return hashlib.sha256(f"{salt}\0{text}".encode()).hexdigest()


def _link(seq: int, at: float, owner: str, kind: str, digest: str, previous: str) -> str:
    return hashlib.sha256(json.dumps([seq, at, owner, kind, digest, previous]).encode()).hexdigest()
