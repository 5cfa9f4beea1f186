"""The state file: what is committed survives, what isn't leaves no trace, and a bad file is said to be bad."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from nexus_final import state
from nexus_final.errors import UserError
from nexus_final.state import BlockRow, StateStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "state.sqlite"


def test_it_is_in_wal_mode_and_flushes_every_commit(path):
    with StateStore(path) as store:
        assert store._rows("PRAGMA journal_mode")[0][0] == "wal"
        assert store._rows("PRAGMA synchronous")[0][0] == 2  # FULL


def test_a_stage_from_start_to_done(path):
    with StateStore(path) as store:
        assert store.stage("profile") is None
        store.start_stage("profile", "f1", {"version": "1", "inputs": {"seed": 0}, "upstream": {}})
        row = store.stage("profile")
        assert row is not None
        assert (row.status, row.fingerprint, row.basis["inputs"]) == ("running", "f1", {"seed": 0})
        store.end_stage("profile", "done", [("results/p.json", "abc")])
    with StateStore(path) as store:
        row = store.stage("profile")
        assert row is not None
        assert (row.status, row.artefacts) == ("done", (("results/p.json", "abc"),))
        assert row.ended is not None


def test_time_adds_up_over_resumes_and_starts_anew_with_another_fingerprint(path, monkeypatch):
    clock = iter([100.0, 110.0, 200.0, 205.0, 300.0, 301.0])
    monkeypatch.setattr(state.time, "time", lambda: next(clock))
    with StateStore(path) as store:
        for fingerprint, expected in (("a", 10), ("a", 15), ("b", 1)):
            store.start_stage("s", fingerprint, {})
            store.end_stage("s", "interrupted")
            row = store.stage("s")
            assert row is not None
            assert row.seconds == expected


def test_blocks_and_checkpoints_belong_to_their_stage(path):
    with StateStore(path) as store:
        for stage in ("one", "two"):
            store.start_stage(stage, "f", {})
            store.add_block(stage, BlockRow("k", "memory/k", "abc", 3, "f"))
            store.add_checkpoint(stage, 7, "checkpoints/c.pt", "def", {"loss": 1.5})
        store.add_block("one", BlockRow("k", "memory/k", "new", 4, "f"))
        assert store.blocks("one") == {"k": BlockRow("k", "memory/k", "new", 4, "f")}
        store.forget_stage("one")
        assert store.blocks("one") == {}
        assert list(store.blocks("two")) == ["k"]
        last = store.last_checkpoint()
        assert last is not None
        assert (last["stage"], last["step"], last["metrics"]) == ("two", 7, {"loss": 1.5})
        store.forget_block("two", "k")
        assert store.blocks("two") == {}


def test_events_come_back_oldest_first(path):
    with StateStore(path) as store:
        store.begin_run({"seed": 0})
        for number in range(5):
            store.event("tick" if number % 2 else "tock", number=number)
        assert [event.payload["number"] for event in store.events(3)] == [2, 3, 4]
        assert [event.payload["number"] for event in store.events(9, "tick")] == [1, 3]


def test_runs(path):
    with StateStore(path) as store:
        assert store.last_run() is None
        first = store.begin_run({"seed": 0})
        store.end_run("done")
        assert store.begin_run({"seed": 1}) == first + 1
        last = store.last_run()
        assert last is not None
        assert (last["config"], last["outcome"], last["pid"]) == ({"seed": 1}, None, os.getpid())


def test_killed_before_a_commit_leaves_no_trace_of_it(path):
    program = f"""
from nexus_final.state import StateStore
store = StateStore({str(path)!r})
store.event("first"); store.event("second")
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NEXUS_KILL_AT": "state.before_commit:2"}
    assert subprocess.run([sys.executable, "-c", program], env=env).returncode == -signal.SIGKILL
    with StateStore(path) as store:
        assert [event.kind for event in store.events()] == ["first"]


def test_several_threads_may_write(path):
    with StateStore(path) as store:
        workers = [threading.Thread(target=lambda: [store.event("x") for _ in range(20)]) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(store.events(1000)) == 80


def test_another_process_may_look_on(path):
    with StateStore(path) as store:
        store.event("x")
        with StateStore(path) as other:
            store.event("y")
            assert [event.kind for event in other.events()] == ["x", "y"]


@pytest.mark.parametrize("content", [b"this is not a database, and long enough to be seen as none" * 20, b"SQLite for"])
def test_a_file_that_is_no_state_is_refused_and_left_alone(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^state file: .*cure: .*--reset"):
        StateStore(path)
    assert path.read_bytes() == content


def test_a_newer_format_is_refused(path):
    StateStore(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(UserError, match="written by a newer version"):
        StateStore(path)


def test_migrations_bring_an_old_file_up_to_date(path, monkeypatch):
    with StateStore(path) as store:
        store.event("kept")
    more = (*state.MIGRATIONS, "CREATE TABLE extra (x); INSERT INTO extra VALUES (5)")
    monkeypatch.setattr(state, "MIGRATIONS", more)
    for _ in range(2):
        with StateStore(path) as store:
            assert store._rows("SELECT x FROM extra")[0][0] == 5
            assert store._rows("SELECT count(*) FROM extra")[0][0] == 1
            assert [event.kind for event in store.events()] == ["kept"]


def test_a_migration_that_fails_changes_nothing(path, monkeypatch):
    StateStore(path).close()
    monkeypatch.setattr(state, "MIGRATIONS", (*state.MIGRATIONS, "CREATE TABLE extra (x); THIS IS NOT SQL"))
    with pytest.raises(UserError):
        StateStore(path)
    monkeypatch.undo()
    with StateStore(path) as store:
        assert store._rows("SELECT count(*) FROM sqlite_master WHERE name='extra'")[0][0] == 0
