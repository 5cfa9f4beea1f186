"""The journal: everything that was taught, corrected, forgotten or said about answers, in a chain that shows tampering.

The one idea: events are appended to one SQLite table, each with the hash of the one before it, and what a reader calls
"facts" is computed from them (nexus/living/facts.py). A call returns only after the commit has reached the disk (WAL,
synchronous=FULL). The chain covers a salted hash of each payload and not the payload, so that `forget` can erase text
and salt for good while the chain still verifies and nobody can guess the text from its hash.

Tables: events(seq, at, owner, kind, payload, salt, digest, previous, hash); facts(seq, owner, text, source) is the
projection, written in the same transaction; vectors(seq, start, model, vector) keeps embeddings of parts of facts and
loses a row in the same transaction as the fact. An open journal may be used by several threads; they take turns.
Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nexus.core.files import kill_point
from nexus.living.facts import Fact, fold, project, retained

KINDS = ("teach", "correct", "forget", "feedback", "rollback")
OWNER = "me"  # whose memory it is where nobody says
GENESIS = "0" * 64
WAIT_SECONDS = 30.0  # for another writer
ERASE_SECONDS = 2.0  # for readers that still see an erased text
MAX_TEXT = 1_000_000  # characters of one teaching
HELD = "SELECT 1 FROM facts WHERE seq = ? AND owner = ?"
FORGETTABLE = "SELECT 1 FROM events WHERE seq = ? AND owner = ? AND kind IN ('teach', 'correct') AND payload NOT NULL"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, at REAL NOT NULL, owner TEXT NOT NULL, kind TEXT NOT NULL,
    payload TEXT, salt TEXT, digest TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS facts (seq INTEGER PRIMARY KEY, owner TEXT NOT NULL, text TEXT NOT NULL,
    source TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS forgettings ON events (owner, seq) WHERE kind = 'forget';
CREATE INDEX IF NOT EXISTS facts_of_owner ON facts (owner);
CREATE TABLE IF NOT EXISTS vectors (seq INTEGER NOT NULL, start INTEGER NOT NULL, model TEXT NOT NULL,
    vector BLOB NOT NULL, PRIMARY KEY (seq, start, model)) STRICT, WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS vectors_go_with_facts AFTER DELETE ON facts
    BEGIN DELETE FROM vectors WHERE seq = old.seq; END;
CREATE TABLE IF NOT EXISTS unerased (seq INTEGER PRIMARY KEY) STRICT;
"""
Place = tuple[int, int]  # a fact's number, and the character in it where a passage starts


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


@dataclass(frozen=True)
class Held:
    """What changed in an owner's facts: numbers that no longer hold, and facts that are new."""

    gone: list[int]
    new: list[Fact]


class NotErasedYet(ValueError):
    """A fact is forgotten (event `seq`: it holds no more and is answered no more), but its text is still in the file.

    Another process reads a state of the file that has it. The journal remembers, and erases it as soon as that reader
    is through: at the next write, the next opening or the next :meth:`Journal.erase`.
    """

    def __init__(self, seq: int, path: Path) -> None:
        super().__init__(
            f"forget: the fact is forgotten (event {seq}), but not erased yet: another process is reading {path.name}. "
            "cure: let it finish; the next write or opening erases the text, `nexus memory erase` says when it is gone"
        )
        self.seq = seq


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
        self._db = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        self._turn = threading.RLock()
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.executescript(_SCHEMA)
            self.erase(0.0)
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
        with self._turn:
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

        Texts that no longer hold can be forgotten as well. Returns only when the text is gone from the file.

        Raises:
            NotErasedYet: forgotten, but another process still reads a state of the file that has the text.
        """
        seq = self._append(owner, "forget", {"fact": fact}, FORGETTABLE, fact)
        if not self.erase(ERASE_SECONDS):
            raise NotErasedYet(seq, self.path)
        return seq

    def erase(self, seconds: float = ERASE_SECONDS) -> bool:
        """Erase what is forgotten and still in the file; returns whether nothing is left. Waits this long for readers.

        The pages of the file are overwritten when a text is forgotten (secure_delete); what remains is the write-ahead
        log, which can be emptied once nobody reads an older state out of it.
        """
        with self._turn:
            last = self._db.execute("SELECT max(seq) FROM unerased").fetchone()[0]
            if last is None:
                return True
            self._db.execute(f"PRAGMA busy_timeout={int(1000 * seconds)}")
            try:
                if self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    return False
            finally:
                self._db.execute(f"PRAGMA busy_timeout={int(1000 * WAIT_SECONDS)}")
            kill_point("journal.erased")
            with self._transaction():
                self._db.execute("DELETE FROM unerased WHERE seq <= ?", (last,))  # others may have come since
            return True

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
        with self._turn:
            return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])

    def head(self) -> str:
        """The hash of the last event, which stands for the whole history: what a certificate is bound to."""
        with self._turn:
            row = self._db.execute("SELECT hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return row[0] if row else GENESIS

    def forgotten(self, owner: str) -> int:
        """The number of the owner's last event of forgetting; 0 if there is none."""
        with self._turn:
            row = self._db.execute("SELECT max(seq) FROM events WHERE owner = ? AND kind = 'forget'", (owner,))
            return int(row.fetchone()[0] or 0)

    def events(self, owner: str | None = None) -> Iterator[Event]:
        """All events in order, or one owner's."""
        where, values = ("", ()) if owner is None else ("WHERE owner = ?", (owner,))
        with self._turn:  # all at once: a reader that stops half-way would keep a state of the file alive
            rows = self._db.execute(f"SELECT * FROM events {where} ORDER BY seq", values).fetchall()
        for row in rows:
            parts = dict(zip(_FIELDS, row, strict=True))
            payload = parts.pop("payload")
            yield Event(payload=None if payload is None else json.loads(payload), **parts)

    def facts(self, owner: str) -> list[Fact]:
        """What holds for this owner now, oldest first."""
        return self._facts("owner = ? ORDER BY seq", owner)

    def held_since(self, owner: str, version: int, held: Collection[int]) -> Held:
        """What changed for someone who knows the facts `held` of event `version`; after teaching, only what is new."""
        with self._turn:
            kinds = {row[0] for row in self._db.execute(
                "SELECT DISTINCT kind FROM events WHERE seq > ? AND owner = ?", (version, owner))}  # fmt: skip
            if kinds <= {"teach", "feedback"}:
                return Held([], self._facts("seq > ? AND owner = ?", version, owner) if "teach" in kinds else [])
            now = {row[0] for row in self._db.execute("SELECT seq FROM facts WHERE owner = ?", (owner,))}
            new = [fact for seq in sorted(now.difference(held)) for fact in self._facts("seq = ?", seq)]
            return Held([seq for seq in held if seq not in now], new)

    def vectors(self, model: str, facts: Collection[int]) -> dict[Place, bytes]:
        """The vectors that are kept for these facts."""
        with self._turn:
            return {
                (seq, start): vector
                for fact in facts
                for seq, start, vector in self._db.execute(
                    "SELECT seq, start, vector FROM vectors WHERE seq = ? AND model = ?", (fact, model)
                )
            }

    def keep_vectors(self, model: str, vectors: Mapping[Place, bytes]) -> None:
        """Keep vectors for the next opening; those of facts that hold no more are dropped."""
        with self._turn, self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO vectors SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM facts WHERE seq = ?)",
                [(seq, start, model, vector, seq) for (seq, start), vector in vectors.items()],
            )
            kill_point("journal.vectors")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything that is read inside is of one state of the file."""
        with self._turn:
            inside = self._db.in_transaction
            if not inside:
                self._db.execute("BEGIN")
            try:
                yield
            finally:
                if not inside:
                    self._db.execute("ROLLBACK")

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
        with self.snapshot():
            return self._verify(head)

    def rebuild(self) -> None:
        """Compute the facts anew from the events."""
        with self._turn, self._transaction():
            self._write_facts({owner: project(self.events(owner)) for owner in self._owners()})

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _append(self, owner: str, kind: str, payload: Mapping[str, Any], where: str = "", fact: int = 0) -> int:
        if not owner:
            raise ValueError("owner: is empty. cure: say whose memory it is")
        text, salt = _canonical(payload), os.urandom(16).hex()
        with self._turn, self._transaction():
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
        if kind != "forget":
            self.erase(0.0)  # what an earlier reader kept from being erased
        return seq

    def _facts(self, where: str, *values: object) -> list[Fact]:
        with self._turn:
            rows = self._db.execute(f"SELECT seq, text, source FROM facts WHERE {where}", values).fetchall()
        return [Fact(*row) for row in rows]

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
            self._db.execute("INSERT INTO unerased VALUES (?)", (event.seq,))
            for seq in retained(self.events(event.owner), event.payload["fact"]):
                self._db.execute("UPDATE events SET payload = NULL, salt = NULL WHERE seq = ?", (seq,))
        self._write_facts({event.owner: project(self.events(event.owner))})

    def _write_facts(self, owners: Mapping[str, Mapping[int, Fact]]) -> None:
        """Bring the table to this state; rows that stay are left alone, and their vectors with them."""
        for owner, facts in owners.items():
            held = {fact.seq: fact for fact in self.facts(owner)}
            for seq in held:
                if facts.get(seq) != held[seq]:
                    self._db.execute("DELETE FROM facts WHERE seq = ?", (seq,))
            for seq, fact in facts.items():
                if held.get(seq) != fact:
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
