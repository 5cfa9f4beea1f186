"""The state of a pipeline in one SQLite file: runs, stages, blocks, checkpoints, events.

The one idea: files first, row second. A stage or a block is recorded only after its files are whole on disk, so the
state never claims what isn't there; a killed run repeats at most the piece it was in.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nexus.core.files import kill_point
from nexus_final.errors import UserError

# Applied in order, each in one transaction; a file's `user_version` says how many it has. Never edit one: append.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE run (id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, started REAL NOT NULL, ended REAL,
                      config TEXT NOT NULL, outcome TEXT);
    CREATE TABLE stage (name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, basis TEXT NOT NULL, status TEXT NOT NULL,
                        started REAL NOT NULL, ended REAL, seconds REAL NOT NULL DEFAULT 0, error TEXT,
                        artefacts TEXT NOT NULL DEFAULT '[]');
    CREATE TABLE block (stage TEXT NOT NULL, key TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL,
                        bytes INTEGER NOT NULL, fingerprint TEXT NOT NULL, created REAL NOT NULL,
                        PRIMARY KEY (stage, key));
    CREATE TABLE checkpoint (id INTEGER PRIMARY KEY, stage TEXT NOT NULL, step INTEGER NOT NULL, path TEXT NOT NULL,
                             sha256 TEXT NOT NULL, kind TEXT NOT NULL, metrics TEXT NOT NULL, created REAL NOT NULL);
    CREATE TABLE event (id INTEGER PRIMARY KEY, run INTEGER, at REAL NOT NULL, kind TEXT NOT NULL,
                        payload TEXT NOT NULL);
    CREATE INDEX event_kind ON event (kind);
    """,
)


@dataclass(frozen=True)
class StageRow:
    """A stage as last seen: `status` is running, done, interrupted or failed; `basis` what the fingerprint hashes."""

    name: str
    fingerprint: str
    basis: dict[str, Any]
    status: str
    started: float
    ended: float | None
    seconds: float
    error: str | None
    artefacts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class BlockRow:
    """A finished piece of a stage: where it lies (relative to the root), its SHA-256 and size in bytes."""

    key: str
    path: str
    sha256: str
    bytes: int
    fingerprint: str


@dataclass(frozen=True)
class EventRow:
    """Something that happened, at a Unix time."""

    at: float
    kind: str
    payload: dict[str, Any]


class StateStore:
    """Open (or make) the state file; safe to use from several threads of one process.

    Every commit is flushed to disk (`synchronous=FULL`).

    Raises:
        UserError: the file is not a state file, is corrupt, or was written by a newer version.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.run_id: int | None = None
        self._lock = threading.RLock()
        if str(path) != ":memory:":
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=30, check_same_thread=False)
        try:
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._migrate()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise _unusable(self.path, error) from error
        except UserError:
            self._db.close()
            raise

    def _migrate(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            what = f"{self.path} was written by a newer version (format {version}, this one knows {len(MIGRATIONS)})"
            raise UserError("state file", what, "update Nexus, or start anew with --reset")
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            self._db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version={number}; COMMIT;")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Nothing is pending: every call committed."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._db:
            yield self._db
            kill_point("state.before_commit")

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    # ---- runs --------------------------------------------------------------------------------------------------------

    def begin_run(self, config: Mapping[str, Any]) -> int:
        """Record the start of a run and return its number; later events belong to it."""
        with self._transaction() as db:
            query = "INSERT INTO run (pid, started, config) VALUES (?, ?, ?)"
            self.run_id = db.execute(query, (os.getpid(), time.time(), json.dumps(config))).lastrowid
        assert self.run_id is not None
        return self.run_id

    def end_run(self, outcome: str) -> None:
        """Record how the run ended."""
        with self._transaction() as db:
            db.execute("UPDATE run SET ended=?, outcome=? WHERE id=?", (time.time(), outcome, self.run_id))

    def last_run(self) -> dict[str, Any] | None:
        """The latest run as a mapping (id, pid, started, ended, config, outcome), or None."""
        rows = self._rows("SELECT * FROM run ORDER BY id DESC LIMIT 1")
        return {**rows[0], "config": json.loads(rows[0]["config"])} if rows else None

    # ---- stages ------------------------------------------------------------------------------------------------------

    def stage(self, name: str) -> StageRow | None:
        """The stage's row, or None if it never ran."""
        rows = self._rows("SELECT * FROM stage WHERE name=?", name)
        return _stage_row(rows[0]) if rows else None

    def stages(self) -> list[StageRow]:
        """All stages that ever ran, in the order they first started."""
        return [_stage_row(row) for row in self._rows("SELECT * FROM stage ORDER BY rowid")]

    def start_stage(self, name: str, fingerprint: str, basis: Mapping[str, Any]) -> None:
        """Record that the stage runs. The time it took so far is kept when the fingerprint is the same."""
        with self._transaction() as db:
            db.execute(
                """INSERT INTO stage (name, fingerprint, basis, status, started) VALUES (?1, ?2, ?3, 'running', ?4)
                   ON CONFLICT (name) DO UPDATE SET status='running', started=?4, ended=NULL, error=NULL, basis=?3,
                   artefacts='[]', seconds=CASE WHEN fingerprint=?2 THEN seconds ELSE 0 END, fingerprint=?2""",
                (name, fingerprint, json.dumps(basis), time.time()),
            )

    def end_stage(
        self, name: str, status: str, artefacts: Iterable[tuple[str, str]] = (), error: str | None = None
    ) -> None:
        """Record how the stage ended: done (with its artefacts' paths and hashes), interrupted, or failed."""
        with self._transaction() as db:
            db.execute(
                """UPDATE stage SET status=?1, ended=?2, seconds=seconds + ?2 - started, error=?3, artefacts=?4
                   WHERE name=?5""",
                (status, time.time(), error, json.dumps(list(artefacts)), name),
            )

    def forget_stage(self, name: str) -> None:
        """Drop the stage's row with its blocks and checkpoints. Files are not touched."""
        with self._transaction() as db:
            db.execute("DELETE FROM stage WHERE name=?", (name,))
            db.execute("DELETE FROM block WHERE stage=?", (name,))
            db.execute("DELETE FROM checkpoint WHERE stage=?", (name,))

    # ---- blocks and checkpoints --------------------------------------------------------------------------------------

    def add_block(self, stage: str, block: BlockRow) -> None:
        """Record a finished block; its file must be whole on disk already."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO block VALUES (?, ?, ?, ?, ?, ?, ?)",
                (stage, block.key, block.path, block.sha256, block.bytes, block.fingerprint, time.time()),
            )

    def blocks(self, stage: str) -> dict[str, BlockRow]:
        """The stage's finished blocks by key, in the order they were written."""
        query = "SELECT key, path, sha256, bytes, fingerprint FROM block WHERE stage=? ORDER BY rowid"
        return {row["key"]: BlockRow(**row) for row in self._rows(query, stage)}

    def forget_block(self, stage: str, key: str) -> None:
        """Drop a block's row, for instance because its file failed verification or was consumed."""
        with self._transaction() as db:
            db.execute("DELETE FROM block WHERE stage=? AND key=?", (stage, key))

    def add_checkpoint(
        self, stage: str, step: int, path: str, sha256: str, metrics: Mapping[str, float], kind: str = "latest"
    ) -> None:
        """Record a checkpoint that lies on disk."""
        with self._transaction() as db:
            query = "INSERT INTO checkpoint (stage, step, path, sha256, kind, metrics, created) VALUES (?,?,?,?,?,?,?)"
            db.execute(query, (stage, step, path, sha256, kind, json.dumps(metrics), time.time()))

    def last_checkpoint(self) -> dict[str, Any] | None:
        """The latest checkpoint as a mapping, or None."""
        rows = self._rows("SELECT * FROM checkpoint ORDER BY id DESC LIMIT 1")
        return {**rows[0], "metrics": json.loads(rows[0]["metrics"])} if rows else None

    # ---- events ------------------------------------------------------------------------------------------------------

    def event(self, kind: str, **payload: Any) -> None:
        """Record that something happened."""
        with self._transaction() as db:
            query = "INSERT INTO event (run, at, kind, payload) VALUES (?, ?, ?, ?)"
            db.execute(query, (self.run_id, time.time(), kind, json.dumps(payload, default=str)))

    def events(self, limit: int = 10, kind: str | None = None) -> list[EventRow]:
        """The latest events, oldest first."""
        query = "SELECT at, kind, payload FROM event WHERE ?1 IS NULL OR kind=?1 ORDER BY id DESC LIMIT ?2"
        rows = self._rows(query, kind, limit)
        return [EventRow(row["at"], row["kind"], json.loads(row["payload"])) for row in reversed(rows)]


def _unusable(path: Path, error: sqlite3.DatabaseError) -> UserError:
    if isinstance(error, sqlite3.OperationalError):  # the disk's fault, not the file's: nobody should reset for that
        cure = "see that the disk has room and the folder is writable, then run the same command again"
        return UserError("state file", f"{path} can't be opened ({error})", cure)
    cure = "put a good copy there, or start anew with --reset"
    return UserError("state file", f"{path} can't be read ({error})", cure)


def _stage_row(row: sqlite3.Row) -> StageRow:
    values = dict(row)
    values["basis"] = json.loads(values["basis"])
    values["artefacts"] = tuple((path, digest) for path, digest in json.loads(values["artefacts"]))
    return StageRow(**values)
