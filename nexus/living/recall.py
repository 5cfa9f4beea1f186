"""Recall: the taught sentence that answers a question, with its exact place in the source, or None.

The one idea: the score is the share of the question's words, weighed by how telling they are (inverse document
frequency, Spärck Jones 1972), that one sentence contains. It lies in [0, 1], needs no training, and is the same for a
long and a short source. Among sentences that score alike the newest wins, so newer beats older without a correction.
It does not know that two words mean the same; an embedding function can be passed in for that.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nexus.living.facts import Fact

Embed = Callable[[Sequence[str]], NDArray[np.floating[Any]]]  # n texts to (n, d)
MARGIN = 0.6  # the score below which nothing is said
TIE = 0.02  # scores this near are alike
_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s|$)|\n|$)", re.DOTALL)
_SMALL_WORDS = (
    "a an the is are was were be been am do does did has have had of to in on at by for from with and or as it its "
    "this that these those there what which who whom whose when where why how i you he she we they me my your his "
    "her our their can could will would shall should may might must please tell not"
)
_SMALL = frozenset(_SMALL_WORDS.split())
_ENDINGS = ("ingly", "edly", "ings", "ing", "ies", "ied", "es", "ed", "ly", "s", "e", "y")


@dataclass(frozen=True)
class Recalled:
    """An answer out of memory: ``text`` is exactly ``[start:end]`` of what event `fact` taught."""

    text: str
    fact: int
    start: int
    end: int
    score: float
    source: str

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


class Recall:
    """An index over facts.

    Args:
        facts: what may be answered from.
        margin: the least score of an answer.
        embed: turns texts into vectors; with it the score is the larger of the share of words and the cosine.
    """

    def __init__(self, facts: Sequence[Fact], margin: float = MARGIN, embed: Embed | None = None) -> None:
        self.margin = margin
        self._places = [(fact, start, end) for fact in facts for start, end in sentences(fact.text)]
        self._words = [set(words(fact.text[start:end])) for fact, start, end in self._places]
        self._with: dict[str, list[int]] = {}
        for number, found in enumerate(self._words):
            for word in found:
                self._with.setdefault(word, []).append(number)
        self._embed = embed
        self._vectors = None if embed is None else _unit(embed([f.text[a:b] for f, a, b in self._places]))

    def ask(self, question: str) -> Recalled | None:
        """The best sentence, or None if none reaches the margin."""
        scores = self._scores(question)
        if not len(scores) or scores.max() < self.margin:
            return None
        alike = np.flatnonzero(scores >= scores.max() - TIE)
        best = max(alike, key=lambda number: (self._places[number][0].seq, scores[number]))
        fact, start, end = self._places[best]
        return Recalled(fact.text[start:end], fact.seq, start, end, float(scores[best]), fact.source)

    def _scores(self, question: str) -> NDArray[np.float64]:
        scores = np.zeros(len(self._places))
        asked = Counter(words(question))
        for word in asked:
            scores[self._with.get(word, [])] += self._weight(word)
        total = sum(self._weight(word) for word in asked)
        scores = scores / total if total else scores
        if self._vectors is not None and self._embed is not None and len(scores):
            scores = np.maximum(scores, self._vectors @ _unit(self._embed([question]))[0])
        return scores

    def _weight(self, word: str) -> float:
        return math.log(1 + len(self._places) / (0.5 + len(self._with.get(word, ()))))


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Where sentences and lines begin and end."""
    for match in _SENTENCE.finditer(text):
        yield match.start(), match.start() + len(match[0].rstrip())


def words(text: str) -> list[str]:
    """Words without case and common endings, small words left out (unless there is nothing else)."""
    found = _WORD.findall(text.casefold())
    return [_stem(word) for word in found if word not in _SMALL] or found


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def _unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    made = np.asarray(vectors, dtype=np.float64).reshape(len(vectors), -1)
    return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)
