"""`nexus chat` with the gate: refusals, proofs and quotations in the terminal, and feedback by a word."""

import io
import sys

import pytest

from nexus.cli import main
from nexus.living.journal import Journal
from nexus.serving.chat import GATED_HELP
from tests.living.answers import certified_release

PROVED = "Every cat is an animal. Tom is a cat. Is Tom an animal?"


@pytest.fixture(scope="module")
def certified():
    release, _, texts = certified_release()
    return str(release.folder), texts


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def talk(capsys, monkeypatch, folder, *lines):
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    assert main(["chat", folder]) == 0
    return capsys.readouterr()


def test_one_shot_answers_or_refuses_on_stdout(certified, capsys, tmp_path):
    folder, texts = certified
    capsys.readouterr()
    assert main(["chat", folder, "-p", PROVED]) == 0
    assert capsys.readouterr() == ("Yes\n", "")
    assert main(["chat", folder, "-p", texts[0], "--system", "Be brief."]) == 0
    assert "(prompt)" in capsys.readouterr().out
    assert not (tmp_path / "nexus-memory.db").exists(), "asking does not make a journal"


def test_what_stands_behind_an_answer_is_told(certified, capsys, monkeypatch, tmp_path):
    folder, texts = certified
    with Journal(tmp_path / "nexus-memory.db") as journal:
        journal.teach("me", "The shop opens at nine.", "the door")
    out, err = talk(capsys, monkeypatch, folder, "When does the shop open?", PROVED, *texts[:40])
    assert out.startswith('nine: you told me: "The shop opens at nine." (the door)\nYes\n')
    first, second, *_ = err.splitlines()
    assert first == "[you taught me: fact 1, letters 0 to 23 of the door]"
    assert second == "[proved; nexus reason shows the steps]"
    assert "[my own words: score " in err
    assert "Sorry, " in out


def test_feedback_by_a_word(certified, capsys, monkeypatch):
    folder, _ = certified
    out, err = talk(capsys, monkeypatch, folder, "/right", PROVED, "/right", "/wrong", "/retry", "/help")
    assert out == "Yes\n"
    lines = err.splitlines()
    assert lines[0].startswith("error: there is no answer")
    assert lines[2] == "noted"
    assert lines[3].startswith("error: id: ")
    assert lines[4] == f"/retry: unknown command; {GATED_HELP}"
    assert lines[5] == GATED_HELP


def test_raw_lets_the_model_speak(certified, capsys):
    folder, _ = certified
    capsys.readouterr()
    assert main(["chat", folder, "-p", PROVED, "--raw", "--max-new-tokens", "5"]) == 0
    assert len(capsys.readouterr().out.strip()) == 5
