"""Sentences become the questions that they answer; the answers are words of the sentence."""

import pytest

from nexus.living.facts import Fact
from nexus.living.lessons import Lesson, lessons, questions


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The mayor of Zorbal is Quin Tav.", [("What is the mayor of Zorbal?", "Quin Tav"),
                                              ("What is Zorbal's mayor?", "Quin Tav")]),
        ("Anna's middle name is Ruth.", [("What is the middle name of Anna?", "Ruth"),
                                         ("What is Anna's middle name?", "Ruth")]),
        ("My sister's dogs are Rex and Bo!", [("What are the dogs of my sister?", "Rex and Bo"),
                                              ("What are my sister's dogs?", "Rex and Bo")]),
        ("The shop opens at nine.", [("What does the shop open at?", "nine"), ("Where does the shop open?", "nine")]),
        ("Tom studies for the exam", [("What does Tom study for?", "the exam")]),
        ("Anna watches for rain", [("What does Anna watch for?", "rain")]),
        ("The keys are in the drawer.", [("Where are the keys?", "in the drawer")]),
        ("Tom is a cat.", [("What is Tom?", "a cat")]),
        ("Never press the red button", []),
        ("", []),
    ],
)  # fmt: skip
def test_questions_that_a_sentence_answers(sentence, expected):
    found = questions(sentence)
    assert found == expected
    assert all(answer in sentence for _, answer in found)


def test_each_sentence_of_a_document_teaches_and_is_kept_as_a_statement():
    found = lessons([Fact(4, "Tom is a cat. Feed him!", "")])
    assert found == [Lesson(4, "What is Tom?", "a cat"), Lesson(4, "", "Tom is a cat."), Lesson(4, "", "Feed him!")]


def test_the_newest_answer_to_a_question_counts():
    old, new = Fact(1, "The shop's key is red.", ""), Fact(2, "The key of the shop is blue.", "")
    assert {lesson.fact for lesson in lessons([old, new])} == {2}
    assert {lesson.answer for lesson in lessons([old, new]) if lesson.prompt} == {"blue"}
