"""`nexus weights`, as it is typed, beside `nexus memory` and `nexus certify`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nexus.cli import main
from nexus.living.gate import Certificate
from nexus.living.versions import PLAIN, Versions
from tests.living.test_commands import _questions
from tests.living.test_versions import add
from tests.tiny_release import tiny_model, write_release


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # a process cannot take it back: all tests that come after would wait for whatever else the machine does
    monkeypatch.setattr("nexus.living.consolidation.low_priority", lambda: None)


def _say(capsys, *call: str) -> str:
    assert main(list(call)) == 0, capsys.readouterr().err
    return capsys.readouterr().out.strip()


@pytest.fixture
def versions():
    """Two versions of `me`, the second one speaks."""
    made = Versions("nexus-weights", "me")
    first = add(made, "one")
    second = add(made, "two", first.name, (1, 2))
    for version in (first, second):
        made.promote(version.name)
    return made


def test_the_log_marks_what_speaks_and_going_back_takes_one_word(capsys, versions):
    first, second = (version.name for version in versions.all())
    assert f"* {second}" in _say(capsys, "weights", "log")
    assert _say(capsys, "weights", "rollback").startswith(f"{first} speaks from the next request on")
    assert f"* {first}" in _say(capsys, "weights", "log")
    _say(capsys, "weights", "rollback", PLAIN)
    assert _say(capsys, "weights", "log").startswith(f"* {PLAIN}")
    _say(capsys, "weights", "rollback", second)
    assert versions.chosen() == second
    assert _say(capsys, "weights", "log", "--owner", "bob") == f"* {PLAIN}"
    shown = _say(capsys, "weights", "show", second)
    assert second in shown
    assert "speaks everywhere" in shown, "made without a reach"


def test_forgetting_erases_the_weights_that_learnt_it(capsys, versions):
    for fact in ("Tom is a cat.", "Bo is red."):
        _say(capsys, "memory", "teach", fact)
    first, second = (version.name for version in versions.all())
    said = _say(capsys, "memory", "forget", "2")
    assert said.endswith(f"weights that had learnt it are erased: {second}")
    assert versions.chosen() == first
    assert "erased nothing" in _say(capsys, "weights", "settle")
    assert "weights" not in _say(capsys, "memory", "forget", "1", "--weights", "elsewhere")
    assert _say(capsys, "weights", "settle") == f"erased {first}; {PLAIN} speaks"


def test_a_certificate_is_bound_to_the_version_that_speaks(capsys, tmp_path, versions):
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "weights").write_text("1")
    call = ["certify", "--data", _questions(200), "--release", "release", "--weights", "nexus-weights"]
    bindings = []
    for name in (None, *(version.name for version in versions.all())):
        if name:
            versions.promote(name)
        main(call)
        bindings.append(Certificate.load("certificate/certificate.json").binding)
    assert bindings[0].changed(bindings[1]) == ["weights"]
    assert bindings[0] == bindings[2]


def test_consolidating_trains_a_version_and_says_what_the_gates_found(capsys, tmp_path):
    write_release(tmp_path / "tiny", tiny_model(plan="MA"), eos_ids=(258,))
    _say(capsys, "memory", "teach", "Bo is red.")
    call = ("weights", "consolidate", "tiny", "--steps", "2")
    said = _say(capsys, *call)
    assert "refused: " in said
    assert "loss_bound" in said
    assert [version.admitted for version in Versions("nexus-weights", "me").all()] == [False]
    assert "0001-" in _say(capsys, "weights", "log")
    (version,) = Versions("nexus-weights", "me").all()
    assert "speaks where one of 1 things is named" in _say(capsys, "weights", "show", version.name)
    assert "refused: " in _say(capsys, *call), "the same again: nothing was learnt yet"
    assert len(Versions("nexus-weights", "me").all()) == 1


def test_it_runs_only_while_nobody_else_wants_the_processor():
    asked = "import os; from nexus.living.consolidation import low_priority; low_priority(); "
    policy = "print(os.sched_getscheduler(0) == os.SCHED_IDLE if hasattr(os, 'SCHED_IDLE') else os.nice(0) == 19)"
    said = subprocess.run([sys.executable, "-c", asked + policy], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "True"


@pytest.mark.parametrize(
    "call",
    [
        ["weights", "rollback"],
        ["weights", "rollback", "0001-none"],
        ["weights", "show", "0001-none"],
        ["weights", "log", "--owner", ""],
        ["weights", "consolidate", "nowhere"],
        ["weights", "settle", "--file", "missing.db"],
        ["weights", "fly"],
    ],
)
def test_wrong_calls_end_with_2_and_one_line(capsys, call):
    assert main(call) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cure" in error


def test_consolidating_needs_a_journal_and_good_numbers(capsys, tmp_path):
    write_release(tmp_path / "tiny")
    assert main(["weights", "consolidate", "tiny"]) == 2
    assert "there is no journal" in capsys.readouterr().err
    _say(capsys, "memory", "teach", "Bo is red.")
    assert main(["weights", "consolidate", "tiny", "--steps", "0"]) == 2
    assert "steps" in capsys.readouterr().err
