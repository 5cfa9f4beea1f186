"""The combined score: the probability that an answer is right, from all signals at once.

The one idea: a logistic regression over the signals, fitted to outcomes on a split of its own. Probes and distance are
fitted to that split too; the columns that the regression sees of them come from folds that they were not fitted to, so
that it does not trust them more than they deserve. Source: combining entropy with a probe, arXiv:2603.21172.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nexus.core.files import atomic_file
from nexus.living.scores.agreement import agreement, cluster_entropy, sequence_entropy
from nexus.living.scores.distance import Distance
from nexus.living.scores.entropy import max_entropy, mean_entropy
from nexus.living.scores.length import ended, length
from nexus.living.scores.likelihood import first_logprob, max_probability, mean_logprob, min_logprob
from nexus.living.scores.logistic import Logistic, fit_logistic, sklearn_part
from nexus.living.scores.probe import Probe
from nexus.living.trace import Floats, Said

Signal = Callable[[Said], float]
PLAIN: tuple[Signal, ...] = (
    max_probability, mean_logprob, min_logprob, first_logprob, mean_entropy, max_entropy, length, ended,
)  # fmt: skip
SAMPLED: tuple[Signal, ...] = (agreement, cluster_entropy, sequence_entropy)
LEARNT = ("probe_question", "probe_answer", "distance")
BASELINES: tuple[Signal, ...] = (length, max_probability, mean_entropy)  # always reported
STRENGTH = 1.0  # inverse of the penalty
FOLDS = 5
FEW = 10  # right or wrong answers: with fewer nothing can be fitted


def signals_of(said: Sequence[Said]) -> tuple[tuple[str, ...], Floats]:
    """Names and values, (n, d), of what needs no fitting; signals of samples where all answers have samples."""
    chosen = PLAIN + (SAMPLED if all(one.samples for one in said) else ())
    return tuple(s.__name__ for s in chosen), np.array([[signal(one) for signal in chosen] for one in said])


@dataclass(frozen=True)
class Learnt:
    """What is fitted to hidden states."""

    question: Probe
    answer: Probe
    distance: Distance

    @classmethod
    def fit(cls, said: Sequence[Said], right: NDArray[np.bool_]) -> Self:
        """From answers and outcomes of both kinds."""
        questions, answers = _states(said)
        return cls(Probe.fit(questions, right), Probe.fit(answers, right), Distance.fit(questions))

    def columns(self, said: Sequence[Said]) -> Floats:
        """Values, (n, 3), in the order of `LEARNT`."""
        questions, answers = _states(said)
        return np.stack([self.question(questions), self.answer(answers), self.distance(questions)], 1)


@dataclass(frozen=True)
class Score:
    """A score that can be kept in a file.

    Attributes:
        names: the signals it reads.
        line: their weights; None if there were too few outcomes of one kind to fit it. The score is then the geometric
            mean of the tokens' probabilities.
        learnt: probes and distance; None as `line`.
        samples, tokens: how answers have to be made for it.
        reference: (m,) scores of questions that were not used to fit it, sorted: how it usually comes out.
    """

    names: tuple[str, ...]
    line: Logistic | None
    learnt: Learnt | None
    samples: int
    tokens: int
    reference: Floats

    @classmethod
    def fit(cls, said: Sequence[Said], right: Sequence[bool], tokens: int, seed: int = 0) -> Self:
        """Fit to answers and whether they were right.

        Args:
            tokens: the limit of length under which they were given.
            seed: of the folds.
        """
        outcomes, samples = np.array(right, dtype=bool), min((len(one.samples) for one in said), default=0)
        if min(outcomes.sum(), (~outcomes).sum()) < FEW:
            return cls(("mean_logprob",), None, None, 0, tokens, np.empty(0))
        names, plain = signals_of(said)
        columns = np.concatenate([plain, _out_of_fold(said, outcomes, seed)], 1)
        line, learnt = fit_logistic(columns, outcomes, STRENGTH), Learnt.fit(said, outcomes)
        return cls((*names, *LEARNT), line, learnt, samples, tokens, np.empty(0))

    def __call__(self, said: Sequence[Said]) -> Floats:
        """The score of each answer, in [0, 1]."""
        if self.line is None or self.learnt is None:
            return np.exp([mean_logprob(one) for one in said])
        names, plain = signals_of(said)
        if names != self.names[: -len(LEARNT)]:
            raise ValueError(f"samples: this score needs {self.samples} of each answer. cure: ask for as many")
        odds = self.line.odds(np.concatenate([plain, self.learnt.columns(said)], 1))
        return np.exp(-np.logaddexp(0.0, -odds))

    # ---- the file ---------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> Path:
        """Write it as safetensors."""
        about = {"names": list(self.names), "samples": self.samples, "tokens": self.tokens}
        arrays: dict[str, Floats] = {"reference": self.reference}
        if self.line is not None and self.learnt is not None:
            for name, line in self._lines().items():
                arrays |= {f"{name}.weight": line.weight, f"{name}.bias": line.bias}
            distance = self.learnt.distance
            arrays |= {"distance.mean": distance.mean, "distance.whitening": distance.whitening}
        with atomic_file(path) as temporary:
            arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
            save_file(arrays, temporary, {"score": json.dumps(about)})
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it back.

        Raises:
            ValueError: the file is no score.
        """
        try:
            with safe_open(path, "numpy") as file:
                about = json.loads(file.metadata()["score"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            names = tuple(about["names"])
            line = learnt = None
            if "line.weight" in arrays:
                line, question, answer = (
                    Logistic(arrays[f"{part}.weight"], arrays[f"{part}.bias"])
                    for part in ("line", "question", "answer")
                )
                distance = Distance(arrays["distance.mean"], arrays["distance.whitening"])
                learnt = Learnt(Probe(question), Probe(answer), distance)
            return cls(names, line, learnt, int(about["samples"]), int(about["tokens"]), arrays["reference"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no score ({error}). cure: make one with nexus certify --release") from None

    def _lines(self) -> dict[str, Logistic]:
        assert self.line is not None
        assert self.learnt is not None
        return {"line": self.line, "question": self.learnt.question.line, "answer": self.learnt.answer.line}


def _states(said: Sequence[Said]) -> tuple[Floats, Floats]:
    return np.stack([one.question for one in said]), np.stack([one.answer for one in said])


def _out_of_fold(said: Sequence[Said], right: NDArray[np.bool_], seed: int) -> Floats:
    """The columns of `Learnt`, each row's from a fit that has not seen it."""
    folds = sklearn_part("model_selection").StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    columns = np.empty((len(said), len(LEARNT)))
    for known, new in folds.split(np.zeros(len(said)), right):
        fitted = Learnt.fit([said[i] for i in known], right[known])
        columns[new] = fitted.columns([said[i] for i in new])
    return columns
