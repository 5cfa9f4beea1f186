"""The probability that a statement answers a question, from meaning, names and kinds together.

The one idea: a logistic regression over few numbers (nexus/living/evidence.py and three signs), learnt once an embedder
from made-up examples (nexus/living/examples.py). What an example is measured with was learnt without its relation, and
in half of the examples the other wordings of that relation are missing, too: so the probability also is that of
relations which nobody listed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nexus.living.asking import Query, Step
from nexus.living.bank import Bank, Bools, Embed, Floats, bank
from nexus.living.closeness import Closeness, fit
from nexus.living.evidence import Told, evidence
from nexus.living.examples import examples, subjects
from nexus.living.matching import by_name, contradicts, likely, otherwise
from nexus.living.passages import Entry

FOLDS = 5
RIDGE = 1.0  # on the weights of standardised evidence
STEPS = 25
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
            told: the vectors (n, d) of the statements, see :func:`nexus.living.bank.means`.
            query, step: what is asked.
            entries: the statements, all of one subject.
        """
        rows = _rows(self.closeness, asked, told, query, step, entries, self.bank)
        return np.round(_logistic(rows @ self.weights), DIGITS)


def learn(embed: Embed) -> Meaning:
    """Learn from the everyday relations: some seconds with MiniLM."""
    wordings, known, rng = bank(embed), examples(), random.Random(0)
    rows, right = [], []
    for fold in range(FOLDS):
        held = np.arange(len(known.entries)) % FOLDS == fold
        closeness = _closeness(wordings, ~held)
        measured = wordings.measured(closeness)
        for question in np.flatnonzero(held[known.of]):
            asked = wordings.vectors[len(known.entries) + question]
            query = known.queries[question]
            for chosen, without in _draws(int(question), wordings, rng):
                entries = [known.entries[n] for n in chosen]
                told = wordings.vectors[chosen]
                rows.append(_rows(closeness, asked, told, query, query.whole, entries, measured, without))
                right += [n == known.of[question] for n in chosen]
    closeness = _closeness(wordings, np.ones(len(known.entries), dtype=bool))
    weights = _regress(np.concatenate(rows), np.array(right, dtype=np.float64))
    return Meaning(closeness, wordings.measured(closeness), weights)


def _closeness(wordings: Bank, kept: Bools) -> Closeness:
    """Learnt from the statements and questions of some of the everyday relations."""
    rows = np.flatnonzero((wordings.of >= 0) & (wordings.of < len(kept)))
    rows = rows[kept[wordings.of[rows]]]
    return fit(wordings.vectors[rows], wordings.of[rows])


def _draws(question: int, wordings: Bank, rng: random.Random) -> Iterator[tuple[list[int], Bools]]:
    """Made-up subjects for a question, and what wordings are not known then: this one, and often all like it."""
    known = examples()
    row, relation = len(known.entries) + question, known.of[question]
    for chosen in subjects(question, rng):
        without = wordings.of == relation if rng.random() < 0.5 else np.zeros(len(wordings.of), dtype=bool)
        without[row] = True
        yield chosen, without


def _rows(closeness: Closeness, asked: Floats, told: Floats, query: Query, step: Step, entries: Sequence[Entry],
          wordings: Bank, without: Bools | None = None) -> Floats:  # fmt: skip
    names = tuple(statement.relation for _, statement in entries)
    signs = [
        (
            by_name(query, step, statement), -contradicts(step, statement), -otherwise(step, statement),
            likely(query, passage, statement), 1.0,
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
