"""Versions are whole or absent, one of them speaks, and whatever kills the writer leaves the old choice or the new."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nexus.core.files import KILL_VARIABLE
from nexus.living.bounds import upper_bound
from nexus.living.gate import Binding, Certificate, Gate
from nexus.living.risk_control import Verdict
from nexus.living.versions import PLAIN, Trained, Versions, weights_hash

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from pathlib import Path
from tests.living.test_versions import add
from nexus.living.versions import Versions
versions = Versions(sys.argv[1], "ann")
if sys.argv[2] == "promote":
    versions.promote(add(versions, "two", parent=versions.chosen(), facts=(1, 2)).name)
elif sys.argv[2] == "rollback":
    versions.rollback()
else:
    versions.erase([2])
"""


def add(versions: Versions, content: str, parent: str = PLAIN, facts=(1,), admitted: bool = True):
    """A version whose adapter is two files with some content."""
    adapter = versions.folder.parent / f"adapter-{content}"
    adapter.mkdir(parents=True, exist_ok=True)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(content.encode() * 100)
    reasons = () if admitted else ("held-out loss: too high",)
    made = Trained(
        parent=parent, release="r", journal="h", memory=7, facts=facts, admitted=admitted, reasons=reasons, figures={}
    )
    return versions.add(adapter, made)


@pytest.fixture
def versions(tmp_path):
    return Versions(tmp_path, "ann")


@pytest.fixture
def line(versions):
    """Three versions, each trained from the one before; the last one speaks."""
    first = add(versions, "one")
    second = add(versions, "two", first.name, (1, 2))
    third = add(versions, "three", second.name, (1, 2, 3))
    for version in (first, second, third):
        versions.promote(version.name)
    return [version.name for version in (first, second, third)]


def test_nothing_speaks_but_the_release_at_first(versions):
    assert (versions.chosen(), versions.current(), versions.all()) == (PLAIN, None, [])
    with pytest.raises(ValueError, match="speaks already"):
        versions.rollback()


def test_every_version_is_kept_and_going_back_is_a_choice(versions, line):
    assert [version.name for version in versions.all()] == line
    assert versions.chosen() == line[2]
    assert versions.rollback().name == line[1]
    assert versions.rollback(line[0]).name == line[0]
    assert versions.rollback() is None
    assert versions.chosen() == PLAIN
    assert versions.promote(line[2]).facts == (1, 2, 3)
    assert [version.name for version in versions.lineage(line[2])] == line[::-1]
    assert [version.name for version in versions.all()] == line


def test_a_version_that_failed_its_gates_is_kept_and_never_speaks(versions, line):
    failed = add(versions, "bad", line[2], (1, 2, 3, 4), admitted=False)
    with pytest.raises(ValueError, match=r"was not admitted \(held-out loss: too high\)"):
        versions.promote(failed.name)
    assert versions.chosen() == line[2]
    assert versions.get(failed.name).reasons == ("held-out loss: too high",)


def test_the_same_adapter_is_taken_once(versions, line):
    assert add(versions, "one").name == line[0]
    assert len(versions.all()) == 3


def test_damage_is_found_before_it_speaks(versions, line):
    (versions.folder / line[1] / "adapter_model.safetensors").write_bytes(b"flipped")
    with pytest.raises(ValueError, match="is damaged"):
        versions.rollback()
    assert versions.chosen() == line[2]
    (versions.folder / line[0] / "manifest.json").unlink()
    with pytest.raises(ValueError, match="is no version"):
        versions.get(line[0])


@pytest.mark.parametrize("name", ["0009-nothing", "../ann", ""])
def test_a_name_that_is_none_is_refused(versions, line, name):
    with pytest.raises(ValueError, match=r"cure: choose from 0001-"):
        versions.promote(name)


def test_owners_have_versions_of_their_own(tmp_path, line):
    other = Versions(tmp_path, "../../bob")
    assert (other.all(), other.chosen()) == ([], PLAIN)
    assert other.folder.parent == tmp_path
    with pytest.raises(ValueError, match="owner: is empty"):
        Versions(tmp_path, "")


def test_weights_that_learnt_what_was_forgotten_are_erased(versions, line):
    assert versions.erase([99]) == []
    assert versions.erase([2]) == line[1:]
    assert versions.chosen() == line[0]
    assert [version.name for version in versions.all()] == line[:1]
    held = [path for path in versions.folder.rglob("*") if path.is_file() and b"twotwo" in path.read_bytes()]
    assert held == []
    assert versions.erase([1]) == line[:1]
    assert versions.chosen() == PLAIN


def test_one_consolidation_at_a_time_and_going_back_never_waits(tmp_path, versions, line):
    with versions.lock():
        with pytest.raises(ValueError, match="another process consolidates"), Versions(tmp_path, "ann").lock():
            pass
        Versions(tmp_path, "ann").rollback()
    assert versions.chosen() == line[1]
    with versions.lock():
        pass


# ---- killed ---------------------------------------------------------------------------------------------------------


def _run(folder: Path, action: str, point: str | None = None) -> int:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({KILL_VARIABLE: point} if point else {})}
    command = [sys.executable, "-c", WRITER, str(folder), action]
    return subprocess.run(command, env=environment, check=False, timeout=60).returncode


@pytest.mark.parametrize(
    ("point", "added", "speaks"),
    [
        ("folder.written", False, False),
        ("versions.added", True, False),
        ("file.half_written", True, False),
        ("file.written", True, False),
        ("file.before_rename", True, False),
        ("file.after_rename", True, True),
        ("versions.promoted", True, True),
    ],
)
def test_killed_while_promoting_the_old_version_speaks_or_the_new(tmp_path, versions, point, added, speaks):
    first = add(versions, "one")
    versions.promote(first.name)
    assert _run(tmp_path, "promote", point) == -signal.SIGKILL
    assert len(versions.all()) == 1 + added
    assert versions.path(versions.current())  # whole, by its hashes
    assert (versions.chosen() != first.name) == speaks
    assert _run(tmp_path, "promote") == 0  # again: goes on from there
    chosen = versions.current()
    with versions.lock():
        assert not list(versions.folder.glob(".*.tmp")), "what was left unfinished is removed"
    assert chosen.facts == (1, 2)


@pytest.mark.parametrize("point", ["file.half_written", "file.before_rename", "file.after_rename"])
def test_killed_while_going_back(tmp_path, versions, line, point):
    assert _run(tmp_path, "rollback", point) == -signal.SIGKILL
    assert versions.chosen() == (line[1] if point == "file.after_rename" else line[2])
    assert [version.name for version in versions.all()] == line


@pytest.mark.parametrize("point", ["file.before_rename", "file.after_rename", "versions.erase:1", "versions.erase:2"])
def test_killed_while_erasing_nothing_that_was_to_go_comes_back(tmp_path, versions, line, point):
    assert _run(tmp_path, "erase", point) == -signal.SIGKILL
    assert versions.chosen() == (line[2] if point == "file.before_rename" else line[0])
    assert _run(tmp_path, "erase") == 0
    assert versions.chosen() == line[0]
    assert [version.name for version in versions.all()] == line[:1]
    with versions.lock():
        pass
    assert sorted(path.name for path in versions.folder.iterdir()) == [line[0], "current", "lock"]


# ---- certificates ---------------------------------------------------------------------------------------------------


def test_a_promotion_and_a_rollback_make_a_certificate_stale(versions, line):
    bound = upper_bound(0, 100, 0.05)
    verdict = Verdict(
        alpha=0.05, delta=0.05, threshold=0.5, n=100, answered=100, wrong=0, base_risk=0.0, feasible=1.0,
        risk_bound=bound, coverage_bound=0.9,
    )  # fmt: skip

    def now() -> Binding:
        return Binding(weights=weights_hash("r", versions.chosen()))

    gate = Gate(Certificate(verdict=verdict, binding=now(), data=""))
    assert gate.decide(0.9, now()).answered
    versions.promote(add(versions, "four", line[2], (1, 2, 3, 4)).name)
    refused = gate.decide(0.9, now())
    assert not refused.answered
    assert "(weights)" in refused.reason
    versions.rollback()
    assert gate.decide(0.9, now()).answered, "the very weights that were certified speak again"
    versions.rollback()
    assert not gate.decide(0.9, now()).answered
    assert weights_hash("r", PLAIN) == "r"
