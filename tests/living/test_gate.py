"""A certificate opens the gate for the system it was made for, as long as feedback bears it out."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from nexus.living.gate import Binding, Certificate, Gate
from nexus.living.risk_control import certify

BINDING = Binding(weights="w", memory="m", prompt="p", sampler="greedy")


@pytest.fixture
def certificate() -> Certificate:
    score = np.random.default_rng(0).random(1000)
    return Certificate(verdict=certify(score, score > 0.3, 0.05, 0.05), binding=BINDING, data="d")


def test_it_answers_from_the_threshold_on_and_refuses_below(certificate):
    gate, threshold = Gate(certificate), certificate.verdict.threshold
    assert gate.decide(threshold, BINDING).answered
    refused = gate.decide(threshold - 1e-9, BINDING)
    assert not refused.answered
    assert "not sure enough" in refused.reason
    assert refused.certificate == certificate.id
    assert not gate.decide(float("nan"), BINDING).answered


@pytest.mark.parametrize("part", ["weights", "memory", "prompt", "sampler", "score"])
def test_any_change_closes_it_and_is_named(certificate, part):
    decision = Gate(certificate).decide(1.0, dataclasses.replace(BINDING, **{part: "other"}))
    assert not decision.answered
    assert part in decision.reason


def test_harmful_feedback_closes_it(certificate):
    gate = Gate(certificate)
    assert all(gate.feedback(right=True) for _ in range(200))
    assert gate.decide(1.0, BINDING).answered
    assert not any([gate.feedback(right=False) for _ in range(20)][-1:])
    assert "wrong more often" in gate.decide(1.0, BINDING).reason


def test_questions_of_another_kind_close_it(certificate):
    rng = np.random.default_rng(1)
    gate = Gate(certificate, reference=rng.random(300))
    assert all(gate.decide(score, BINDING).answered == (score >= gate.threshold) for score in rng.random(300))
    for score in 0.99 + 0.01 * rng.random(60):
        last = gate.decide(score, BINDING)
    assert "no longer like those" in last.reason


def test_a_question_that_is_repeated_is_no_other_kind(certificate):
    gate = Gate(certificate, reference=np.linspace(0, 1, 300))
    assert all(gate.decide(0.99, BINDING, again=number > 0).answered for number in range(200))


def test_other_bindings_do_not_teach_it_about_questions(certificate):
    gate = Gate(certificate, reference=np.linspace(0, 1, 300))
    for _ in range(100):
        gate.decide(0.999, dataclasses.replace(BINDING, prompt="other"))
        gate.decide(float("nan"), BINDING)
    assert gate.shift.wealth == 1.0
    assert gate.decide(0.999, BINDING).answered


def test_an_adaptive_threshold_rises_after_harm_and_never_undercuts(certificate):
    gate = Gate(certificate, step=0.01)
    start = certificate.verdict.threshold
    gate.feedback(right=True)
    assert gate.threshold == start
    gate.feedback(right=False)
    assert gate.threshold == pytest.approx(start + 0.01 * 0.95)
    assert not gate.decide(start, BINDING).answered
    assert gate.adaptive.bound < 1


def test_without_a_threshold_nothing_is_answered():
    rng = np.random.default_rng(0)
    verdict = certify(rng.random(500), rng.random(500) < 0.5, 0.05, 0.05)
    gate = Gate(Certificate(verdict=verdict, binding=BINDING, data="d"))
    assert "Nothing I say" in gate.decide(float("inf"), BINDING).reason


def test_it_is_saved_and_a_change_by_hand_is_seen(certificate, tmp_path):
    path = certificate.save(tmp_path / "certificate.json")
    assert Certificate.load(path) == certificate
    content = json.loads(path.read_text())
    content["verdict"]["threshold"] = 0.0
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="changed after it was made"):
        Certificate.load(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="no certificate"):
        Certificate.load(path)
