"""The marks of a version as it would be heard: where it does not reach, the release answers.

The one idea: the exam is sat by what users meet. Questions that name nothing which was taught get the release's own
marks, so only those that the version reaches cost anything; to these come questions about the very names that were
taught which nothing taught answers, since that is where a version may have grown sure of what it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nexus.inference.release import Release
from nexus.living.exam import Exam, Marks, Question, answers, question, read, sit, sureness, taught_questions
from nexus.living.lessons import Lesson
from nexus.living.reach import Reach
from nexus.training.adapters import Adapter, RowAdapters

Near = Callable[[str], tuple[list[str], list[str]]]  # a name to questions about it, to rehearse and to be examined


class Examiner:
    """Examines versions of one release.

    Args:
        release, rows: what is examined.
        exam: what every version is asked.
        near: from a name to questions about it that nothing taught answers.
    """

    def __init__(self, release: Release, rows: RowAdapters, exam: Exam, near: Near) -> None:
        self.release, self.rows, self.exam, self.near = release, rows, exam, near
        with rows.using(None):
            self._plain = sit(release, exam)

    def marks(
        self, adapter: Adapter | None, reach: Reach, names: Sequence[str] = (), lessons: Sequence[Lesson] = ()
    ) -> Marks:
        """What a version makes of the exam, of these lessons, and of what nobody taught about these names.

        Held-out text is judged as if the version reached all of it: in a conversation that names what was taught, all
        else is said by the version as well.
        """
        plain = self._plain
        untouched, unknown = (self._reached(reach, part) for part in (self.exam.untouched, self.exam.unknown))
        near = self._asked_near(names)
        met = Exam(
            held_out=self.exam.held_out,
            untouched=tuple(self.exam.untouched[place] for place in untouched),
            unknown=(*(self.exam.unknown[place] for place in unknown), *near),
        )
        with self.rows.using(adapter):
            found = sit(self.release, met, taught_questions(self.release, lessons))
        on_unknown, on_near = np.split(found.unknown_score, [len(unknown)])
        return replace(
            found,
            untouched=_put(plain.untouched, untouched, found.untouched),
            kept=_put(plain.kept, untouched, found.kept),
            untouched_score=_put(plain.untouched_score, untouched, found.untouched_score),
            unknown_score=np.append(_put(plain.unknown_score, unknown, on_unknown), on_near),
        )

    def plain(self, names: Sequence[str] = ()) -> Marks:
        """The release's own marks, which are known but for what it makes of these names; without lessons."""
        with self.rows.using(None):
            near = sureness(self.release, self._asked_near(names))
        return replace(self._plain, unknown_score=np.append(self._plain.unknown_score, near))

    def taught(self, adapter: Adapter | None, lessons: Sequence[Lesson]) -> NDArray[np.bool_]:
        """(n,) whether a version answers each question of these lessons."""
        with self.rows.using(adapter):
            return read(self.release, [asked for _, asked in taught_questions(self.release, lessons)]).exact

    def near_rows(self, names: Sequence[str], width: int) -> torch.Tensor:
        """(n, width) ids: questions about these names that nothing taught answers, with what the release says."""
        fill = self.release.generation.eos_ids[:1] or (0,)
        asked = [question(self.release, text) for name in names for text in self.near(name)[0]]
        with self.rows.using(None):
            said = answers(self.release, asked) if asked else []
        rows = [[*q.prompt, *answer, *fill * width][:width] for q, answer in zip(asked, said, strict=True)]
        return torch.tensor(rows, dtype=torch.long).reshape(-1, width)

    def _asked_near(self, names: Sequence[str]) -> list[Question]:
        return [question(self.release, text) for name in names for text in self.near(name)[1]]

    def _reached(self, reach: Reach, asked: Sequence[Question]) -> list[int]:
        return [n for n, q in enumerate(asked) if reach.covers(self.release.tokenizer.decode(list(q.prompt)))]


def _put(whole: NDArray[Any], places: list[int], part: NDArray[Any]) -> NDArray[Any]:
    """A copy with some of its values replaced."""
    made = whole.copy()
    made[places] = part
    return made
