"""Questions with known answers, from JSON lines: how they are put to the model, and whether an answer is right.

The one idea: a certificate is worth as much as its labels, so these are exact: words, numbers and choices are compared,
no model judges another. An answer is compared as words in lower case. A line holds

- ``question``, and ``answer`` (a text) or ``answers`` (a list, any of which is right; empty: there is no answer, and
  only saying so is right);
- and may hold ``context`` (a text to read first), ``choices`` (a list that the answer is one of) and ``kind`` (for the
  report).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus.core.config import fault

FORM = "context, question, choices 1"  # stands for `Question.text` in a certificate's binding
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_UNKNOWING = re.compile(
    r"\b(unknown|unanswerable|no answer|not (known|given|stated|mentioned|provided|specified|enough information)"
    r"|(do not|don t|cannot|can t|does not|doesn t) (know|say|tell|mention|answer|provide|specify))\b"
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question with its right answers; none if there is no answer to it."""

    question: str
    answers: tuple[str, ...]
    context: str = ""
    choices: tuple[str, ...] = ()
    kind: str = ""

    @property
    def text(self) -> str:
        """The message in which it is asked."""
        lines = [self.context, ""] if self.context else []
        return "\n".join([*lines, self.question, *(f"- {choice}" for choice in self.choices)])

    def right(self, said: str) -> bool:
        """Whether an answer is right.

        Without right answers: it says that it cannot say. With choices: the right one is named and no other. A number:
        it is the last number said. Anything else: one of the answers stands in it, as whole words.
        """
        if not self.answers:
            return bool(_UNKNOWING.search(_words(said)))
        if self.choices:
            return _named(said, self.choices) in {_words(answer) for answer in self.answers}
        if all(_NUMBER.fullmatch(answer.strip().replace(",", "")) for answer in self.answers):
            found = _NUMBER.findall(said.replace(",", ""))
            return bool(found) and any(float(found[-1]) == float(a.replace(",", "")) for a in self.answers)
        return any(_holds(said, answer) for answer in self.answers)


def read_questions(path: Path) -> list[Question]:
    """The questions of a JSONL file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is no JSON object, or a field is missing or wrong; the message has its number.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--data: there is no file {path}. cure: give JSON lines with question and answer")
    lines = [(n, line) for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if line.strip()]
    return [_question(f"{path}, line {number}", line) for number, line in lines]


def _question(where: str, line: str) -> Question:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: is no JSON ({error}). cure: one object a line") from None
    if not isinstance(row, dict) or not isinstance(row.get("question"), str) or not row["question"].strip():
        raise ValueError(f"{where}: has no question. cure: give one, such as {{'question': '...', 'answer': '...'}}")
    texts: dict[str, Any] = {"answers": row.get("answers"), "choices": row.get("choices", [])}
    if "answers" not in row and "answer" in row:
        texts["answers"] = [row["answer"]]
    for name, value in texts.items():
        if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
            raise ValueError(fault(f"{where}: {name}", value, "is no list of texts", "give a list, or one answer"))
    for name in ("context", "kind"):
        if not isinstance(row.get(name, ""), str):
            raise ValueError(fault(f"{where}: {name}", row[name], "is no text", "give a string"))
    answers, choices = ({_words(text) for text in texts[name]} for name in ("answers", "choices"))
    if choices and not answers <= choices:
        raise ValueError(
            fault(f"{where}: answers", texts["answers"], "are not among the choices", "name one of the choices")
        )
    return Question(
        question=row["question"],
        answers=tuple(texts["answers"]),
        context=row.get("context", ""),
        choices=tuple(texts["choices"]),
        kind=row.get("kind", ""),
    )


def _named(said: str, choices: Sequence[str]) -> str | None:
    """The one choice that an answer names, None if none or several; one within a longer one that is named is not."""
    found = [_words(choice) for choice in choices if _holds(said, choice)]
    longest = [one for one in found if not any(one != other and _within(one, other) for other in found)]
    return longest[0] if len(longest) == 1 else None


def _holds(said: str, answer: str) -> bool:
    return _within(_words(answer), _words(said))


def _within(part: str, whole: str) -> bool:
    return bool(part) and f" {part} " in f" {whole} "


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
