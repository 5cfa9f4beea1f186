"""One pass over prompt and answer says what greedy decoding would say."""

import numpy as np
import pytest
import torch

from nexus.inference.generation import generate
from nexus.inference.release import GenerationDefaults, Release
from nexus.inference.text import TextTokenizer
from nexus.living.exam import Exam, Question, answers, question, read, sit, statement, taught_questions
from nexus.living.lessons import Lesson
from nexus.living.own_exam import own_exam
from tests.tiny_release import SPECIAL, byte_tokenizer, text_tokenizer, tiny_model

END = 258


@pytest.fixture(scope="module")
def release():
    return Release(tiny_model(plan="MWA").double(), text_tokenizer(), GenerationDefaults(eos_ids=(END,)), None)


def _asked(release, count=9):
    return [question(release, "why " * (i % 4 + 1) + str(i)) for i in range(count)]


def test_read_agrees_with_decoding_on_right_and_on_wrong_answers(release):
    asked = _asked(release)
    given = answers(release, asked, new=7)
    for q, answer in zip(asked, given, strict=True):
        (alone,) = generate(release.model, [q.prompt], max_new_tokens=7, eos_ids=(END,))
        assert tuple(alone) == answer
    right = read(release, [Question(q.prompt, a) for q, a in zip(asked, given, strict=True)])
    assert right.exact.all()
    assert (right.kept == 1).all()
    wrong = read(release, [Question(q.prompt, (*a[:-1], (a[-1] + 1) % 256)) for q, a in zip(asked, given, strict=True)])
    assert not wrong.exact.any()
    np.testing.assert_allclose(wrong.kept, [1 - 1 / len(a) for a in given])


def test_the_score_of_a_given_answer_is_its_log_probability(release):
    (q,) = _asked(release, 1)
    (answer,) = answers(release, [q], new=5)
    logits = release.model(torch.tensor([[*q.prompt, *answer]])).logits[0].float().log_softmax(-1)
    expected = np.mean([float(logits[len(q.prompt) - 1 + i, token].detach()) for i, token in enumerate(answer)])
    assert read(release, [Question(q.prompt, answer)]).score[0] == pytest.approx(expected, rel=1e-5)


def test_questions_are_put_as_the_release_is_asked(release):
    asked = question(release, "Hi", "Yo")
    assert asked.prompt == tuple(release.tokenizer.chat_ids([{"role": "user", "content": "Hi"}]))
    assert asked.answer == (*release.tokenizer.encode("Yo"), END)
    kind = Release(release.model, release.tokenizer, GenerationDefaults(eos_ids=(END,), system="Be kind."), None)
    assert "Be kind." in release.tokenizer.decode(list(question(kind, "Hi").prompt))
    bare = TextTokenizer(byte_tokenizer(), {"eos_token": SPECIAL[2]})
    plain = question(Release(release.model, bare, GenerationDefaults(), None), "Hi")
    assert bare.decode(list(plain.prompt)) == "Hi\n"


def test_a_fact_without_a_question_is_asked_from_its_middle(release):
    found = taught_questions(release, [Lesson(1, "Q?", "a"), Lesson(1, "", "A is a."), Lesson(2, "", "Go on!")])
    assert [fact for fact, _ in found] == [1, 2]
    assert found[1][1].prompt + found[1][1].answer == statement(release, "Go on!")


def test_the_release_writes_itself_an_exam_on_which_it_is_perfect(release):
    exam, again = own_exam(release, 3), own_exam(release, 3)
    assert torch.equal(exam.held_out, again.held_out)
    assert exam.untouched == again.untouched
    assert not torch.equal(exam.held_out, own_exam(release, 4).held_out)
    marks = sit(release, exam)
    assert marks.untouched.all()
    assert len(marks.loss) == len(exam.held_out)
    assert len(marks.unknown_score) == len(exam.unknown)
    assert np.isfinite(marks.loss).all()


def test_an_exam_without_lessons_has_no_marks_for_them(release):
    exam = Exam(held_out=torch.zeros(1, 4, dtype=torch.long), untouched=tuple(_asked_pairs(release)), unknown=())
    assert len(sit(release, exam).taught) == 0


def _asked_pairs(release):
    asked = _asked(release, 2)
    return [Question(q.prompt, a) for q, a in zip(asked, answers(release, asked), strict=True)]
