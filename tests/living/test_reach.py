"""A version speaks where something is named that it was taught about, and nowhere else."""

import pytest

from nexus.living.reach import FILE, Reach, names

TAUGHT = (
    "The mayor of Zorbal is Quin.",
    "Ada Lovelace lives in London. She was born in Rome.",
    "My dog is called Rex.",
    "If it rains the picnic moves indoors.",
)
ALL = Reach.of(TAUGHT)


@pytest.mark.parametrize(
    "prompt",
    [
        "Who is the mayor of Zorbal?",
        "Who runs zorbal's council?",
        "Hello.\nTell me of Ada Lovelace.\nWhere was she born?",
        "What is my dog called?",
        "Where is the picnic when it rains?",
    ],
)
def test_what_names_something_taught_is_reached(prompt):
    assert ALL.covers(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "What is the capital of France?",
        "Who is the mayor of London?",  # a value is not what the sentence is about
        "Who was Ada of Ruritania?",  # half a name
        "Is there a picnic?",
        "Zorbalia is a country.",
    ],
)
def test_what_names_nothing_taught_is_not(prompt):
    assert not ALL.covers(prompt)


def test_each_fact_reaches_by_itself_and_no_fact_reaches_nothing():
    asked = ("Who is the mayor of Zorbal?", "Tell me of Ada Lovelace.", "What is my dog called?", "Picnic, if it rains")
    reached = [[Reach.of([fact]).covers(prompt) for prompt in asked] for fact in TAUGHT]
    assert reached == [[a == b for a in range(4)] for b in range(4)]
    assert not any(Reach.of(()).covers(prompt) for prompt in asked)


def test_it_is_read_as_it_was_written_and_a_version_without_one_speaks_everywhere(tmp_path):
    assert Reach.load(tmp_path).covers("anything")
    for reach in (ALL, Reach.of(())):
        reach.save(tmp_path)
        assert Reach.load(tmp_path) == reach
    (tmp_path / FILE).write_text('[["two"]]', encoding="utf-8")
    with pytest.raises(ValueError, match=r"is no reach .*cure: "):
        Reach.load(tmp_path)


def test_names_are_as_they_are_written_and_the_speaker_is_none():
    assert names([*TAUGHT, "Zorbal has 3 gates."]) == ["Zorbal", "Ada Lovelace"]
