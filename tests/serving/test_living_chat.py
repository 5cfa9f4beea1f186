"""`nexus chat` with the gate: refusals, proofs and quotations in the terminal, and feedback by a word."""

import io
import shutil
import sys
from dataclasses import replace

import pytest

from nexus.cli import main
from nexus.core.state_space import HybridLM
from nexus.inference.generation import generate
from nexus.inference.release import load_release, open_release
from nexus.living.gate import Certificate
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


@pytest.fixture
def loads(monkeypatch):
    """Every loading of a model."""
    whole, seen = HybridLM.load, []
    monkeypatch.setattr(HybridLM, "load", lambda *where: seen.append(where) or whole(*where))
    return seen


def test_no_model_is_loaded_where_memory_or_a_proof_answers(certified, capsys, tmp_path, loads):
    folder, texts = certified
    with Journal(tmp_path / "nexus-memory.db") as journal:
        journal.teach("me", "The shop opens at nine.")
    capsys.readouterr()
    for question, said in (("When does the shop open?", "nine: you told me"), (PROVED, "Yes")):
        for embedder in ("none", folder):  # words answer, so the embedder is not loaded either
            assert main(["chat", folder, "--embedder", embedder, "-p", question]) == 0
            assert capsys.readouterr().out.startswith(said)
    assert main(["chat", folder, "-p", texts[0], "--system", "Be brief."]) == 0, "refused unheard"
    assert loads == []
    assert main(["chat", folder, "--embedder", "none", "-p", texts[0]]) == 0
    assert len(loads) == 1, "the model was asked"


def test_damaged_weights_are_told_when_the_model_is_asked(certified, capsys, tmp_path):
    folder = shutil.copytree(certified[0], tmp_path / "copy")
    certificate = Certificate.load(folder / "living" / "certificate.json")
    (folder / "model.safetensors").write_bytes(b"flipped")
    binding = replace(certificate.binding, weights=open_release(folder).hash)  # else it would be refused unheard
    replace(certificate, binding=binding).save(folder / "living" / "certificate.json")
    capsys.readouterr()
    assert main(["chat", str(folder), "-p", PROVED]) == 0
    assert capsys.readouterr().out == "Yes\n"
    assert main(["chat", str(folder), "-p", certified[1][0]]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "model.safetensors does not hold weights" in err


def test_in_eight_bits_the_quantised_model_speaks_and_the_certificate_of_the_other_does_not_hold(certified, capsys):
    folder, texts = certified
    release = load_release(folder, int8=True)
    ids = release.tokenizer.chat_ids([{"role": "user", "content": texts[0]}])
    (said,) = generate(release.model, [ids], max_new_tokens=9, eos_ids=release.generation.eos_ids)
    capsys.readouterr()
    assert main(["chat", folder, "-p", texts[0], "--raw", "--int8", "--max-new-tokens", "9"]) == 0
    assert capsys.readouterr().out == release.tokenizer.decode(said) + "\n"
    assert main(["chat", folder, "-p", texts[0], "--int8"]) == 0
    assert "I have changed since I was tested (weights)" in capsys.readouterr().out
