"""`nexus certify --release`: asked, scored, certified and reported, each question for one purpose only."""

import json
import shutil

import numpy as np
import pytest

from nexus.cli import main
from nexus.inference.release import load_release
from nexus.inference.sampling import GREEDY
from nexus.living.certify_release import FIT, REPORT, split
from nexus.living.gate import Certificate
from nexus.living.own_words import Manner, open_own_words
from nexus.living.questions import Question
from nexus.living.scores.combination import BASELINES, Score
from nexus.living.speaking import Voice
from tests.living.answers import TOKENS, certified_release, knowing_release, said


@pytest.fixture(scope="module")
def certified():
    """A release with its certificate, made by the command."""
    release, data, _ = certified_release()
    return release, data


def test_it_leaves_certificate_score_report_and_curve_in_the_release(certified):
    release, _ = certified
    folder = release.folder / "living"
    report = json.loads((folder / "report.json").read_text())
    assert report["certificate"] == Certificate.load(folder / "certificate.json").id
    assert report["risk_bound"] <= 0.3
    assert report["report_questions"] == int(REPORT * 200)
    assert {"combined", "by chance", *(signal.__name__ for signal in BASELINES)} <= report["augrc"].keys()
    assert report["augrc"]["combined"] < report["augrc"]["by chance"]
    assert set(report["by_kind"]) == {"known", "unknown"}
    assert 0 <= report["over_refusal"] < 1
    assert (folder / "curve.png").stat().st_size > 1_000
    assert len(Score.load(folder / "score.safetensors").reference) == 200 - int(FIT * 200) - int(REPORT * 200)


def test_the_gate_opens_for_the_certified_manner_and_no_other(certified):
    release, _ = certified
    own = open_own_words(release)
    assert own.closed() == own.closed(Manner(tokens=500)) == own.closed(Manner(system="")) == ""
    for other in (
        Manner(tokens=TOKENS - 1),
        Manner(stop=("x",)),
        Manner(special=True),
        Manner(sampling=GREEDY.replace(temperature=0.5)),
    ):
        assert "sampler" in own.closed(other)
    for other in (Manner(turns=3), Manner(turns=0), Manner(system="Be brief.")):
        assert "prompt" in own.closed(other)
    decisions = [own.decide(one) for one in Voice(release, TOKENS).say_all(certified_release()[2][:60])]
    assert {decision.answered for decision in decisions} == {True, False}


def test_other_weights_or_another_score_close_it(certified, tmp_path):
    release, _ = certified
    folder = shutil.copytree(release.folder, tmp_path / "copy")
    assert open_own_words(load_release(folder)).closed() == ""
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert "weights" in open_own_words(load_release(folder)).closed()
    score = Score.load(folder / "living" / "score.safetensors")
    score.line.bias[0] += 1
    score.save(folder / "living" / "score.safetensors")
    assert "weights, score" in open_own_words(load_release(folder)).closed()
    (folder / "living" / "score.safetensors").unlink()
    with pytest.raises(ValueError, match="is no score"):
        open_own_words(load_release(folder))


def test_a_certificate_holds_for_weights_in_eight_bits_or_in_full_and_never_for_both(certified, tmp_path):
    release, data = certified
    folder = shutil.copytree(release.folder, tmp_path / "copy")

    def changed(int8):
        own = open_own_words(load_release(folder, int8=int8))
        return own.gate.certificate.binding.changed(own.binding())

    assert (changed(False), changed(True)) == ([], ["weights"])
    assert "(weights)" in open_own_words(load_release(folder, int8=True)).closed()
    call = ["certify", "--release", str(folder), "--data", str(data), "--alpha", "0.3", "--tokens", str(TOKENS)]
    assert main([*call, "--int8"]) == 0
    assert (changed(False), changed(True)) == (["weights"], [])


def test_without_a_certificate_there_is_no_gate(tmp_path):
    release, _ = knowing_release(tmp_path, 1)
    assert open_own_words(release) is None


def test_each_question_serves_one_purpose():
    questions = [Question(question=str(i), answers=("yes",)) for i in range(100)]
    dealt = split(questions, [said("yes" if i % 2 else "no") for i in range(100)], seed=3)
    rows = np.concatenate([dealt.fit, dealt.certify, dealt.report])
    assert sorted(rows) == list(range(100))
    assert (len(dealt.fit), len(dealt.report)) == (30, 20)
    assert dealt.right.tolist() == [bool(i % 2) for i in range(100)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--release: is missing"),
        (["--release", "nowhere"], "nowhere does not exist"),
        (["--release", "FOLDER", "--prompt", "x"], "found out by asking"),
        (["--release", "FOLDER", "--alpha", "2"], "alpha"),
        (["--release", "FOLDER", "--tokens", "0"], "tokens = 0"),
        (["--release", "FOLDER"], "too few"),
    ],
)
def test_wrong_calls_end_with_2_and_one_line(certified, options, message, tmp_path, capsys):
    path = tmp_path / "few.jsonl"
    path.write_text('{"question": "A?", "answer": "a"}\n')
    folder = str(certified[0].folder)
    assert main(["certify", "--data", str(path), *(folder if o == "FOLDER" else o for o in options)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_samples_make_part_of_the_score():
    own = open_own_words(certified_release(samples=2)[0])
    assert own.score.samples == 2
    assert {"agreement", "cluster_entropy", "sequence_entropy"} <= set(own.score.names)
    assert "2 samples" in own.gate.certificate.binding.sampler
    assert own.closed() == ""
