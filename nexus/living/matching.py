"""How well a statement answers a step of a question: by the names of relations, or, where those fail, by meaning.

The one idea: meaning is always compared with rivals. A question in words that nobody listed may go with the taught
relation that it is nearest to, but only if it is nearer to it than to every relation that was not taught: so "Who
brought Ada up?" may find a parent, and "Who is Ada's mother?" never finds her father.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nexus.living.asking import Query, Step
from nexus.living.embedder import Embedder, Floats
from nexus.living.passages import Passage
from nexus.living.reading import Statement, only_timed, timed
from nexus.living.relations import KINDS, NAMES, akin, covers
from nexus.living.words import MINE, words

SURE = 0.95  # an agreement by name that needs no second opinion
KEPT = 4096  # phrases whose vectors are kept
LEAST_COSINE = 0.35  # below this nothing means the same
FULL_MARGIN = 0.25  # a lead over the rivals that counts as certain


def by_name(query: Query, step: Step, statement: Statement) -> float:
    """Agreement in [0, 1]: the harmonic mean of how much of the question is told and how much that is told is asked."""
    wanted = step.relation - KINDS or step.relation
    wanted = wanted - step.names if query.polar else wanted
    told = statement.relation
    if not wanted:
        return 0.0 if told else 0.9
    hit = [any(covers(want, tell) for tell in told) or want in statement.said for want in wanted]
    asked = [any(covers(want, tell) for want in wanted) for tell in told]
    precision = sum(hit) / len(hit)
    recall = sum(asked) / len(asked) if told else 0.9
    if not told and wanted <= {"time", "location"}:  # "The meeting is tomorrow at nine"
        return 0.85
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def fits(query: Query, passage: Passage, statement: Statement) -> bool:
    """Whether what is said can be the kind of thing that is asked for."""
    if query.polar:
        return True
    at = statement.subject_at if query.turned else statement.value_at
    value = passage.fact.text[slice(*at)]
    if query.wanted in ("time", "number"):
        return timed(value)
    return query.wanted == "" or not only_timed(value)


def strangers(step: Step, statement: Statement, passage: Passage) -> bool:
    """Whether the step names something that the passage does not."""
    return bool(step.names - {word.stem for word in words(passage.text)})


class Meaning:
    """Compares steps with statements by an embedder, against the relations of the table as rivals."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._rivals: Floats | None = None
        self._kept: dict[str, Floats] = {}

    def agreement(self, step: Step, entries: Sequence[tuple[Passage, Statement]]) -> list[float]:
        """For each statement, from 0 (another relation is nearer, or none is near) to 1."""
        if not entries:
            return []
        phrases = [masked(passage, statement) for passage, statement in entries]
        asked, *told = self._vectors([step.masked, *phrases])
        if self._rivals is None:
            self._rivals = self._embedder([f"someone's {name}" for name in NAMES])
        rivals = self._rivals @ asked
        return [
            self._lead(float(asked @ vector), entry[1], rivals) for vector, entry in zip(told, entries, strict=True)
        ]

    def forget(self) -> None:
        """Drop all that was kept of taught texts."""
        self._kept.clear()

    def _lead(self, cosine: float, statement: Statement, rivals: Floats) -> float:
        others = [r for name, r in zip(NAMES, rivals, strict=True)
                  if not any(akin(name, told) for told in statement.relation)]  # fmt: skip
        if cosine < LEAST_COSINE or cosine <= max(others):
            return 0.0
        return float(min(1.0, 0.5 + (cosine - max(others)) / (2 * FULL_MARGIN)))

    def _vectors(self, texts: Sequence[str]) -> list[Floats]:
        missing = list(dict.fromkeys(text for text in texts if text not in self._kept))
        if len(self._kept) + len(missing) > KEPT:
            self._kept.clear()
            missing = list(dict.fromkeys(texts))
        if missing:
            self._kept.update(zip(missing, self._embedder(missing), strict=True))
        return [self._kept[text] for text in texts]


def masked(passage: Passage, statement: Statement) -> str:
    """What is stated, with "someone" for the subject."""
    first, last = statement.subject_at
    at = max(statement.start, passage.start)
    text = passage.fact.text
    someone = "someone's" if text[first:last].casefold() in MINE else "someone"
    return f"{text[at:first]}{someone}{text[last : passage.end]}" if at <= first else text[at : passage.end]


def best_rival(rivals: Floats) -> tuple[str, float]:
    """The nearest relation of the table, for looking into a decision."""
    place = int(np.argmax(rivals))
    return NAMES[place], float(rivals[place])
