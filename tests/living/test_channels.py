"""What checked channels say: only what was proved."""

import pytest

from nexus.living.channels import Proofs

PROVED = "Every cat is an animal. Tom is a cat. Is Tom an animal?"


@pytest.fixture(scope="module")
def proofs():
    return Proofs()


def test_a_proof_is_an_answer_with_its_steps(proofs):
    answer = proofs.ask("me", PROVED)
    assert (answer.text, answer.channel, answer.answered) == ("Yes", "proof", True)
    assert answer.proof["status"] == "proved"
    assert answer.proof["certificate"]


def test_what_is_unknown_although_something_is_given_is_said(proofs):
    assert proofs.ask("me", "Tom is a cat. Is Tom red?").text == "Unknown"


@pytest.mark.parametrize("question", ["Is Tom a cat?", "What is the capital of France?", "Hello", "", "Tom is a cat."])
def test_what_cannot_be_proved_is_left_to_others(proofs, question):
    assert proofs.ask("me", question) is None
