"""What checked channels say: only what was proved, only what was taught."""

import pytest

from nexus.living.channels import Proofs, Quotations
from nexus.living.journal import Journal

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


def test_a_quotation_is_exactly_what_was_taught(tmp_path):
    with Journal(tmp_path / "j.db") as journal:
        fact = journal.teach("ann", "We met in May. The shop opens at nine. It rains.", "the door")
        quotations = Quotations(journal)
        answer = quotations.ask("ann", "When does the shop open?")
        (span,) = answer.citations
        (taught,) = [f.text for f in journal.facts("ann") if f.seq == span.fact == fact]
        assert taught[span.start : span.end] == span.quote == answer.text == "The shop opens at nine."
        assert (span.source, answer.memory, answer.channel) == ("the door", 1, "memory")
        assert quotations.ask("bob", "When does the shop open?") is None
        assert quotations.ask("ann", "Who is the king of Spain?") is None
