"""One question, one answer: channels in order, refusals that say why, feedback to the channel that it is about."""

import pytest

from nexus.living.answers import Answer
from nexus.living.journal import Journal
from nexus.living.living import UNCERTIFIED, Living
from nexus.living.opening import open_living
from nexus.living.own_words import Manner
from tests.living.answers import certified_release, knowing_release

PROVED = "Every cat is an animal. Tom is a cat. Is Tom an animal?"


@pytest.fixture(scope="module")
def certified():
    release, _, texts = certified_release()
    return release, texts


@pytest.fixture
def living(certified, tmp_path):
    made = open_living(certified[0], tmp_path / "memory.db")
    yield made
    made.close()


def by_outcome(living, texts):
    """Some question that the model's gate lets out, and one that it refuses."""
    answers = [living.ask("ann", text) for text in texts[:60]]
    return next(a for a in answers if a.answered), next(a for a in answers if not a.answered)


def test_the_surest_channel_answers_first(certified, living, tmp_path):
    with Journal(tmp_path / "memory.db") as journal:
        journal.teach("ann", "The shop opens at nine.")
        journal.teach("ann", "Every cat is an animal and Tom is a cat, is he?")
    assert living.ask("ann", PROVED).channel == "proof"
    taught = living.ask("ann", "When does the shop open?")
    assert (taught.channel, taught.citations[0].fact, taught.citations[0].quote) == (
        "memory",
        1,
        "The shop opens at nine.",
    )
    assert living.ask("bob", "When does the shop open?").channel == "model"
    said, _ = by_outcome(living, certified[1])
    assert (said.channel, said.certificate) == ("model", living.own.gate.certificate.id)
    assert said.score >= said.threshold


def test_a_refusal_is_one_polite_sentence_that_names_what_would_help(certified, living):
    _, refused = by_outcome(living, certified[1])
    assert refused.text.startswith("Sorry, no proof and nothing that I was taught answers this, and I am not sure")
    assert "would help" in refused.text
    assert refused.text.count(".") == 1
    assert refused.score < refused.threshold
    assert refused.to_dict()["reason"]
    other = living.ask("ann", "Why?", Manner(system="Be brief."))
    assert "(prompt)" in other.reason
    assert other.score is None, "the model was not even asked"


def test_without_a_certificate_the_model_is_not_heard(tmp_path):
    release, _ = knowing_release(tmp_path, 1)
    living = open_living(release, tmp_path / "memory.db")
    refused = living.ask("ann", "Why?")
    assert not refused.answered
    assert refused.reason == UNCERTIFIED
    assert "nexus certify" in refused.text
    assert "--raw" in refused.text
    assert living.ask("ann", PROVED).answered
    assert not living.status("ann")["model"]["open"]
    living.close()


def test_teaching_leaves_the_models_gate_open(certified, living, tmp_path):
    before, _ = by_outcome(living, certified[1])
    with Journal(tmp_path / "memory.db") as journal:
        journal.teach("ann", "Something else entirely.")
    assert living.own.closed() == ""
    assert by_outcome(living, certified[1])[0].text == before.text


def test_feedback_reaches_the_gate_of_the_model_and_survives_a_restart(certified, tmp_path):
    release, texts = certified
    living = open_living(release, tmp_path / "memory.db")
    known = next(text for text in texts if living.ask("ann", text).answered)
    while living.feedback("ann", living.ask("ann", known).id, right=False):
        pass
    labels = living.own.gate.alarm.labels
    assert labels > 1
    living.close()
    again = open_living(release, tmp_path / "memory.db")
    assert again.own.gate.alarm.labels == labels
    assert "wrong more often" in again.ask("ann", known).reason
    assert again.status("ann")["model"]["open"] is False
    again.close()


def test_feedback_is_for_ones_own_answers_and_once(certified, living):
    said, refused = by_outcome(living, certified[1])
    assert refused.id == ""
    for owner, ident in (("bob", said.id), ("ann", "model.x.y"), ("ann", "")):
        with pytest.raises(ValueError, match="waits for no feedback"):
            living.feedback(owner, ident, right=True)
    assert living.feedback("ann", said.id, right=True)
    with pytest.raises(ValueError, match="waits for no feedback"):
        living.feedback("ann", said.id, right=True)


class Parrot:
    """A channel that always answers."""

    def ask(self, owner, question):
        return Answer(text=question, answered=True, channel="memory")


def test_an_owners_wrong_answers_close_that_owners_memory_until_it_changes(tmp_path):
    journal = Journal(tmp_path / "memory.db")
    living = Living({"memory": Parrot()}, journal=journal)
    while living.feedback("ann", living.ask("ann", "x").id, right=False):
        pass
    assert not living.ask("ann", "x").answered
    assert living.ask("bob", "x").answered
    again = Living({"memory": Parrot()}, journal=journal)
    assert not again.ask("ann", "x").answered, "a restart does not open it"
    journal.teach("ann", "It is so.")
    assert living.ask("ann", "x").answered
    assert again.ask("ann", "x").answered
    journal.close()
