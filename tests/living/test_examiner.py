"""A version is marked as it is heard: the release's own marks where it does not reach, and what it makes of names."""

import numpy as np
import pytest
import torch

from nexus.inference.release import GenerationDefaults, Release
from nexus.living.exam import Exam, Question, answers, question, sit
from nexus.living.examiner import Examiner
from nexus.living.reach import Reach
from nexus.training.adapters import Adapter, RowAdapters
from tests.tiny_release import text_tokenizer, tiny_model

ASKED = ("Who is Bo?", "Who is Al?", "What is up?")
REACHES = (0, "Bo is red.")  # which of them, and what was taught for it


@pytest.fixture(scope="module")
def examiner():
    torch.manual_seed(0)
    release = Release(tiny_model(plan="MA"), text_tokenizer(), GenerationDefaults(eos_ids=(258,)), None)
    asked = [question(release, text) for text in ASKED]
    own = tuple(Question(q.prompt, a) for q, a in zip(asked, answers(release, asked, new=4), strict=True))
    exam = Exam(held_out=torch.arange(60).view(6, 10), untouched=own, unknown=tuple(asked))
    return Examiner(release, RowAdapters(release.model), exam, lambda name: ([f"Why {name}?"], [f"How is {name}?"]))


@pytest.fixture(scope="module")
def adapter(examiner):
    """A change that leaves no answer as it was."""
    made = Adapter.fresh(examiner.release.model, ["all-linear"], 4, 4.0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for up in made.up.values():
            up.copy_(torch.randn(up.shape, generator=draw))
    return made


def test_only_what_is_reached_gets_other_marks(examiner, adapter):
    place, fact = REACHES
    plain, heard = (examiner.marks(which, Reach.of([fact]), ["Bo"]) for which in (None, adapter))
    with examiner.rows.using(adapter):
        everywhere = sit(examiner.release, examiner.exam)
    assert plain.untouched.all()
    assert not everywhere.untouched.any(), "the change must be felt for this test to say anything"
    others = np.arange(len(ASKED)) != place
    assert heard.untouched.tolist() == others.tolist()
    for name in ("kept", "untouched_score", "unknown_score"):
        got, mine, changed = (getattr(marks, name) for marks in (heard, plain, everywhere))
        assert (got[: len(ASKED)][others] == mine[: len(ASKED)][others]).all()
        assert got[place] == pytest.approx(changed[place], abs=1e-5)
    assert np.abs(heard.loss - plain.loss).min() > 0, "held-out text is judged as if all of it were reached"


def test_questions_about_names_stand_behind_the_unknown_ones(examiner, adapter):
    for which in (None, adapter):
        marks = examiner.marks(which, Reach.of(()), ["Bo", "Al"])
        assert len(marks.unknown_score) == len(ASKED) + 2
        with examiner.rows.using(which):
            own = sit(examiner.release, Exam(held_out=examiner.exam.held_out, untouched=(), unknown=tuple(
                question(examiner.release, f"How is {name}?") for name in ("Bo", "Al")
            )))  # fmt: skip
        assert marks.unknown_score[len(ASKED) :] == pytest.approx(own.unknown_score, abs=1e-5)
    assert len(examiner.marks(None, Reach.of(())).unknown_score) == len(ASKED)


def test_the_marks_of_the_release_are_those_that_it_gets_where_everything_is_reached(examiner):
    known, anew = examiner.plain(["Bo", "Al"]), examiner.marks(None, Reach(), ["Bo", "Al"])
    for name in ("loss", "untouched", "kept", "untouched_score", "unknown_score"):
        assert getattr(known, name) == pytest.approx(getattr(anew, name), abs=1e-5)


def test_rows_to_rehearse_are_questions_with_what_the_release_says(examiner):
    (row,) = examiner.near_rows(["Bo"], 40)
    asked = question(examiner.release, "Why Bo?")
    (said,) = answers(examiner.release, [asked])
    assert row.tolist() == [*asked.prompt, *said, *[258] * 40][:40]
    assert examiner.near_rows([], 40).shape == (0, 40)
