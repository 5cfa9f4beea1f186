"""Made-up subjects, each with some everyday relations and a question: what the weight of evidence is learnt from.

The one idea: the examples go through the same reading of sentences and of questions as what a user teaches and asks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nexus.living.asking import Query, queries
from nexus.living.facts import Fact
from nexus.living.matching import SURE, admits, by_name, speaks_of
from nexus.living.passages import Entry, cut
from nexus.living.reading import Statement
from nexus.living.relations import NAMED
from nexus.living.wordings import Wording, wordings
from nexus.living.words import key, words

DRAWS = 2  # subjects a question
MOST = 6  # relations of a subject
JOURNEYS = 4  # questions of two steps for each relation of people that the table knows
MISSING = 2 / 3  # of the questions ask for what the subject does not have: when in doubt, nothing is said
SUBJECTS = {
    "person": "Kora Venlis", "country": "Talor", "firm": "Bonitec", "work": "Silent Harbour", "project": "Lumora",
    "thing": "Dasker",
}  # fmt: skip


@dataclass(frozen=True)
class Examples:
    """Every sentence as it is read (n) and the relation that it states (n), every question (q) and the relation that it
    asks for (q). The sentences of a relation are side by side."""

    entries: tuple[Entry, ...]
    states: NDArray[np.int64]
    queries: tuple[Query, ...]
    of: NDArray[np.int64]

    def told(self, relation: int) -> range:
        """The places of a relation's sentences."""
        return range(*np.searchsorted(self.states, (relation, relation + 1)))


@lru_cache
def examples() -> Examples:
    """All of nexus/living/wordings.txt."""
    known = wordings()
    asked = [(_query(one, question), place) for place, one in enumerate(known) for question in one.questions]
    of = np.array([place for _, place in asked], dtype=np.int64)
    told = [(_entry(one, sentence), place) for place, one in enumerate(known) for sentence in one.statements]
    states = np.array([place for _, place in told], dtype=np.int64)
    return Examples(tuple(entry for entry, _ in told), states, tuple(query for query, _ in asked), of)


def subjects(question: int, rng: random.Random) -> Iterator[list[int]]:
    """What is told of some made-up subjects of the kind that is asked about, where names leave it to meaning."""
    known, every = wordings(), examples()
    asked = int(every.of[question])
    pool = [n for n, one in enumerate(known) if one.kind == known[asked].kind and n != asked]
    for _ in range(DRAWS):
        chosen = rng.sample(pool, rng.randint(1, MOST))
        chosen = chosen if rng.random() < MISSING else [asked, *chosen[1:]]
        query = every.queries[question]
        chosen = [rng.choice(every.told(n)) for n in chosen]
        chosen = [n for n in chosen if admits(query, query.whole, *every.entries[n])]
        named = (by_name(query, query.whole, every.entries[n][1]) for n in chosen)
        if max(named, default=SURE) < SURE:
            yield chosen


def journeys(fold: int, folds: int, rng: random.Random) -> Iterator[tuple[Query, list[int]]]:
    """Questions that need a second step ("Where was someone's doctor born?"), with statements that say one step only:
    who someone's doctor is."""
    known, every = wordings(), examples()
    people = [n for n, one in enumerate(known) if one.kind == "person"]
    for first in (n for n in people[fold::folds] if known[n].name in NAMED):
        for second in rng.sample([n for n in people if n != first], JOURNEYS):
            question = rng.choice(known[second].questions).replace("{s}", "{s}'s " + known[first].name)
            query = _query(known[first], question)
            told = [rng.choice(every.told(n)) for n in (first, second)]
            told = [n for n in told if speaks_of(query, every.entries[n][1])]
            told = [n for n in told if admits(query, query.whole, *every.entries[n])]
            if len(query.steps) > 1 and told:
                yield query, told


def _entry(one: Wording, sentence: str) -> Entry:
    subject, value = SUBJECTS[one.kind], one.values[0]
    text = sentence.format(s=subject, v=value)
    text = text[0].upper() + text[1:]
    name = key(words(subject))
    passage = next(cut(Fact(0, text, "")))
    for statement in passage.statements:
        if statement.subject == name and text[slice(*statement.value_at)].endswith(value):
            return passage, statement
    at, to = text.index(subject), text.casefold().index(value.casefold())
    places = (at, at + len(subject)), (to, to + len(value))
    return passage, Statement(name, frozenset(), frozenset(), *places, 0, len(text))


def _query(one: Wording, question: str) -> Query:
    subject = SUBJECTS[one.kind]
    name = key(words(subject))
    understood = queries(question.format(s=subject), lambda asked: asked == name)
    return next(query for query in understood if query.mention == name)
