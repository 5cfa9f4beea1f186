"""The probability that a statement answers a question, from meaning, names and kinds together.

The one idea: a logistic regression over few numbers (nexus/living/evidence.py and five signs), learnt once an embedder
from made-up examples (nexus/living/examples.py). What an example is measured with was learnt without its relation, and
in half of the examples no other wordings of its relations are known, either: so the probability also is that of
relations which nobody listed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nexus.living.asking import Query, Step
from nexus.living.bank import Bank, Bools, Embed, Floats, bank, texts
from nexus.living.closeness import Closeness, fit
from nexus.living.evidence import Told, evidence
from nexus.living.examples import examples, journeys, subjects
from nexus.living.matching import by_name, contradicts, leads_on, likely, otherwise
from nexus.living.passages import Entry

FOLDS = 5
RIDGE = 1.0  # on the weights of standardised evidence
STEPS = 25
OTHERWISE = -4  # the column that says that names mean another relation
AGAINST = 1.0  # its least weight: the examples have no neighbours as near as where one lives and where one was born
DIGITS = 6  # of a probability


@dataclass(frozen=True)
class Meaning:
    """What was learnt: the closeness, the wordings that are compared with, and the weights, a constant last."""

    closeness: Closeness
    bank: Bank
    weights: Floats

    def probability(self, asked: Floats, told: Floats, query: Query, step: Step, entries: Sequence[Entry]) -> Floats:
        """For each statement (n,) that it is what the question asks for, to `DIGITS` digits: what is computed beside it
        must not show.

        Args:
            asked: the vector (d,) of the step's masked text.
            told: the vectors (n, 2, d) of the statements, see :func:`nexus.living.bank.texts`.
            query, step: what is asked.
            entries: the statements, all of one subject.
        """
        rows = _rows(self.closeness, asked, told, query, step, entries, self.bank)
        return np.round(_logistic(rows @ self.weights), DIGITS)


def learn(embed: Embed) -> Meaning:
    """Learn from the everyday relations: some seconds with MiniLM."""
    known, rng = examples(), random.Random(0)
    wordings, count = bank(embed), int(known.states[-1]) + 1
    told = np.asarray(embed(texts(known.entries)), dtype=np.float64).reshape(len(known.entries), 2, -1)
    rows, right = [], []
    for fold in range(FOLDS):
        held = np.arange(count) % FOLDS == fold
        closeness = _closeness(told, wordings, ~held)
        measured = wordings.measured(closeness)
        for question in np.flatnonzero(held[known.of]):
            asked = wordings.vectors[len(known.entries) + question]
            query = known.queries[question]
            for chosen, without in _draws(int(question), wordings, rng):
                entries = [known.entries[n] for n in chosen]
                rows.append(_rows(closeness, asked, told[chosen], query, query.whole, entries, measured, without))
                right += [known.states[n] == known.of[question] for n in chosen]
        for journey, chosen in journeys(fold, FOLDS, rng):
            entries, asked = [known.entries[n] for n in chosen], embed([journey.whole.masked])[0]
            rows.append(_rows(closeness, asked, told[chosen], journey, journey.whole, entries, measured))
            right += [False] * len(chosen)
    closeness = _closeness(told, wordings, np.ones(count, dtype=bool))
    weights = _regress(np.concatenate(rows), np.array(right, dtype=np.float64))
    weights[OTHERWISE] = max(weights[OTHERWISE], AGAINST)
    return Meaning(closeness, wordings.measured(closeness), weights)


def _closeness(told: Floats, wordings: Bank, kept: Bools) -> Closeness:
    """Learnt from the statements, whole and bare, and the questions of some of the everyday relations."""
    known = examples()
    states, asks = kept[known.states], kept[known.of]
    questions = wordings.vectors[len(known.entries) :][: len(known.of)]
    vectors = np.concatenate([told[states, 0], told[states, 1], questions[asks]])
    return fit(vectors, np.concatenate([known.states[states], known.states[states], known.of[asks]]))


def _draws(question: int, wordings: Bank, rng: random.Random) -> Iterator[tuple[list[int], Bools]]:
    """Made-up subjects for a question, and what wordings are not known then: those used, and often all like them."""
    known = examples()
    for chosen in subjects(question, rng):
        new = [known.of[question], *known.states[chosen]] if rng.random() < 0.5 else []
        without = np.isin(wordings.of, new)
        without[[*chosen, len(known.entries) + question]] = True
        yield chosen, without


def _rows(closeness: Closeness, asked: Floats, told: Floats, query: Query, step: Step, entries: Sequence[Entry],
          wordings: Bank, without: Bools | None = None) -> Floats:  # fmt: skip
    names = tuple(statement.relation for _, statement in entries)
    signs = [
        (
            by_name(query, step, statement), -contradicts(step, statement), -otherwise(step, statement),
            -(step is query.whole and leads_on(query, passage, statement)), likely(query, passage, statement), 1.0,
        )
        for passage, statement in entries
    ]  # fmt: skip
    return np.column_stack([evidence(closeness, asked, Told(told, names), wordings, without), np.array(signs)])


def _regress(rows: Floats, right: Floats) -> Floats:
    """Weights of a logistic regression, none below 0: every number is evidence for, and what comes out against is
    left out. The last column is the constant, which may be anything."""
    used = np.ones(rows.shape[1], dtype=bool)
    while True:
        weights = np.zeros(len(used))
        weights[used] = _newton(rows[:, used], right)
        against = np.flatnonzero(weights[:-1] < 0)
        if not len(against):
            return weights
        scale = rows[:, against].std(0)
        used[against[np.argmin(weights[against] * scale)]] = False


def _newton(rows: Floats, right: Floats) -> Floats:
    scale = np.append(np.maximum(rows[:, :-1].std(0), 1e-9), 1.0)
    data = rows / scale
    ridge = np.diag([RIDGE] * (len(scale) - 1) + [1e-6])
    weights = np.zeros(len(scale))
    for _ in range(STEPS):
        guess = _logistic(data @ weights)
        curve = (data * (guess * (1 - guess))[:, None]).T @ data + ridge
        weights -= np.linalg.solve(curve, data.T @ (guess - right) + ridge @ weights)
    made: Floats = weights / scale
    return made


def _logistic(x: Floats) -> Floats:
    made: Floats = 1 / (1 + np.exp(-np.clip(x, -30, 30)))
    return made
