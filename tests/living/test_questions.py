"""Labels are exact: words, numbers and choices are compared, and a faulty file is named by its line."""

import json

import pytest

from nexus.living.questions import Question, read_questions


def question(*answers, **fields):
    return Question(question="What?", answers=answers, **fields)


@pytest.mark.parametrize(
    ("asked", "said", "right"),
    [
        (question("Paris"), "The capital is PARIS.", True),
        (question("Paris"), "Parisian", False),
        (question("New York"), "york new", False),
        (question("Paris", "the city of light"), "The City of Light!", True),
        (question("9"), "7 and 2 make 9", True),
        (question("9"), "9 is less than 12", False),
        (question("9"), "nine", False),
        (question("1,000"), "It is 1000.0 apples", True),
        (question("yes", choices=("yes", "no")), "Yes, it is.", True),
        (question("yes", choices=("yes", "no")), "Yes and no", False),
        (question("yes", choices=("yes", "no")), "Maybe", False),
        (question("a red fox", choices=("fox", "a red fox")), "A red fox.", True),
        (question("fox", choices=("fox", "a red fox")), "A red fox.", False),
        (question(), "It does not say.", True),
        (question(), "Paris", False),
        (question("..."), "...", False),
    ],
)
def test_an_answer_is_right_by_its_words(asked, said, right):
    assert asked.right(said) is right


def test_a_question_is_put_with_its_text_and_its_choices():
    made = question("yes", context="It rains.", choices=("yes", "no"))
    assert made.text == "It rains.\n\nWhat?\n- yes\n- no"
    assert question("Paris").text == "What?"


def test_questions_are_read(tmp_path):
    rows = [
        {"question": "A?", "answer": "a"},
        {"question": "B?", "answers": [], "kind": "unanswerable"},
        {"question": "C?", "answers": ["x", "y"], "context": "It is x.", "choices": ["x", "y", "z"], "note": 1},
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("\n\n".join(map(json.dumps, rows)))
    first, second, third = read_questions(path)
    assert first == Question(question="A?", answers=("a",))
    assert (second.answers, second.kind) == ((), "unanswerable")
    assert (third.answers, third.choices, third.context) == (("x", "y"), ("x", "y", "z"), "It is x.")


@pytest.mark.parametrize(
    "row",
    [
        "no json",
        "[1]",
        '{"answer": "a"}',
        '{"question": " ", "answer": "a"}',
        '{"question": "A?"}',
        '{"question": "A?", "answer": 3}',
        '{"question": "A?", "answers": "a"}',
        '{"question": "A?", "answer": "a", "context": 1}',
        '{"question": "A?", "answer": "a", "choices": ["b", "c"]}',
    ],
)
def test_a_faulty_line_is_named(tmp_path, row):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "A?", "answer": "a"}\n' + row)
    with pytest.raises(ValueError, match="line 2"):
        read_questions(path)
