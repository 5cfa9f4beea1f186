"""What names settle and what they leave to meaning: other relations are signs, directions and ways are not mixed up."""

from __future__ import annotations

import pytest

from nexus.living.asking import queries
from nexus.living.facts import Fact
from nexus.living.matching import admits, contradicts, ends_there, leads_on, may_restate, otherwise, speaks_of
from nexus.living.passages import cut
from nexus.living.words import key, words


def _entry(text, name="Ada"):
    passage = next(cut(Fact(0, text, "")))
    return next((passage, one) for one in passage.statements if one.subject == (name.lower(),))


def _query(question, name="Ada"):
    known = key(words(name))
    return next(one for one in queries(question, lambda asked: asked == known) if one.mention == known)


def test_a_word_of_several_senses_is_a_sign_and_no_veto():
    query, entry = _query("Who started Acme?", "Acme"), _entry("Tom founded Acme.", "Acme")
    assert otherwise(query.whole, entry[1])
    assert admits(query, query.whole, *entry)


def test_father_and_mother_contradict_each_other():
    entry = _entry("Ada's father is Olav.")
    assert contradicts(_query("Who is Ada's mother?").whole, entry[1])
    assert not contradicts(_query("Who is Ada's dad?").whole, entry[1])


def test_whose_doctor_someone_is_does_not_tell_who_the_doctor_is():
    entry = _entry("Ada is Bea's doctor.")
    for question, may in (("Who is Ada's doctor?", False), ("Who treats Ada?", False), ("Who is Ada?", True)):
        query = _query(question)
        assert admits(query, query.whole, *entry) is may, question


def test_a_step_of_the_way_is_not_its_end():
    entry = _entry("Ada's doctor is Tom.")
    assert leads_on(_query("Where was Ada's doctor born?"), *entry)
    assert not leads_on(_query("Who is Ada's doctor?"), *entry)
    assert not speaks_of(_query("Where does Ada's mother live?"), _entry("Ada lives in Oslo.")[1])


def test_a_number_ends_the_way():
    query = _query("How large is the staff of Acme?", "Acme")
    assert ends_there(query, *_entry("Acme has 900 employees.", "Acme"))


@pytest.mark.parametrize(
    ("old", "new", "may"),
    [
        ("Ada's spouse is Bo.", "Ada's husband is Cid.", True),
        ("Ada's favourite colour is red.", "Ada's favourite food is soup.", False),
        ("Ada fancies red.", "Ada adores green.", True),
        ("Ada fancies red.", "Tom repairs Ada's bicycles.", False),
    ],
)
def test_what_may_be_said_again_in_other_words(old, new, may):
    assert may_restate(_entry(old), _entry(new)) is may


def test_polite_beginnings_and_open_questions_are_questions_like_others():
    assert _query("Do you know who Ada's sister is?").whole.masked == "who someone's sister is?"
    assert len(_query("Do you happen to know what Ada's sister is called?").steps) == 1
    for question, polar in (
        ("Does Ada have a sister?", False),
        ("Is Ada allergic to anything?", False),
        ("Is Ada a doctor?", True),
        ("Is Ada allergic to soy?", True),
        ("Was Ada born in Oslo?", True),
    ):
        assert _query(question).polar is polar, question
