"""The retriever: a question in, an answer out that quotes what its owner taught, or None.

The one idea: an answer is made of spans of taught texts and nothing else, so none can be unsupported. It follows the
question's path through what was taught (nexus/living/asking.py), the newest statement first where several say the
same; what is not read as a statement is searched by words and by meaning. The score says how far this one was ahead of
what else the question could mean, for a gate to decide on.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest

from nexus.living import matching
from nexus.living.answers import Answer, Citation
from nexus.living.asking import Query, Step, queries
from nexus.living.embedder import Embedder
from nexus.living.journal import Journal
from nexus.living.matching import Meaning
from nexus.living.passage_index import PassageIndex, stems, value_key
from nexus.living.passages import Entry, Passage
from nexus.living.reading import Key, denies
from nexus.living.words import POSSESSIVE, words

MARGIN = 0.7  # the score below which nothing is said
TIE = 0.02  # scores this near are alike
NEAR, CLOSE = 5, 20  # passages that are near in meaning; that are looked at closely
MAX_QUESTION = 60  # words; a longer text is no question to memory
MAX_OWNERS = 256  # indexes that are kept; others are made anew when they are asked
READER = "1"  # goes up whenever the same journal may be answered differently


@dataclass(frozen=True)
class Found:
    """What answers a question.

    Attributes:
        value: the words that answer it, a part of the last citation's quote; empty if the whole quote does.
        score: in [0, 1], larger is surer.
        citations: the spans it rests on, one for each step.
    """

    value: str
    score: float
    citations: tuple[Citation, ...]


@dataclass(frozen=True)
class _Way:
    """A path through what was taught, so far."""

    score: float
    entries: tuple[Entry, ...]
    at: Key


class Retriever:
    """Answers out of a journal, each owner from what that owner taught.

    Args:
        journal: is looked at before every question, so that what was taught, corrected or forgotten counts at once.
        embedder: for other words than were taught; None answers by words and listed synonyms only.
        margin: the least score of an answer.
    """

    def __init__(self, journal: Journal, embedder: Embedder | None, margin: float = MARGIN) -> None:
        self.journal, self.embedder, self.margin = journal, embedder, margin
        self._meaning = Meaning(embedder) if embedder is not None else None
        self._indexes: dict[str, PassageIndex] = {}
        self._turn = threading.RLock()

    @property
    def identity(self) -> str:
        """What a certificate of this channel is bound to: how it reads and what made its vectors."""
        return f"reader-{READER}, {self.embedder.name if self.embedder is not None else 'words only'}"

    def ask(self, owner: str, question: str) -> Answer | None:
        """Answer from what the owner taught; None if that does not answer it."""
        with self._turn:
            index = self.index(owner)
            found = self._find(index, question)
        if found is None or found.score < self.margin:
            return None
        return Answer(
            text=answer_text(found), answered=True, channel="memory", score=found.score, threshold=self.margin,
            citations=found.citations, memory=index.version,
        )  # fmt: skip

    def find(self, owner: str, question: str) -> Found | None:
        """The best that was found, however low its score; None if nothing was."""
        with self._turn:
            return self._find(self.index(owner), question)

    def index(self, owner: str) -> PassageIndex:
        """The owner's index, up to date."""
        with self._turn:
            index = self._indexes.pop(owner, None) or PassageIndex(owner)
            self._indexes[owner] = index  # the last that was asked stands last
            if len(self._indexes) > MAX_OWNERS:
                del self._indexes[next(iter(self._indexes))]
            if index.sync(self.journal) and self._meaning is not None:
                self._meaning.forget()  # it keeps vectors of texts that are no facts any more
            return index

    # ---- following a path -------------------------------------------------------------------------------------------

    def _find(self, index: PassageIndex, question: str) -> Found | None:
        if not 0 < len(words(question)) <= MAX_QUESTION:
            return None
        asked = queries(question, index.knows)
        best = _best([way for query in asked for way in self._ways(index, query, None)])
        if best is None or best[0].score < matching.SURE:
            best = _best([best, *(way for query in asked for way in self._ways(index, query, self._meaning))])
        found = _found(*best) if best is not None else None
        if found is None or found.score < matching.SURE:
            text = self._search(index, question, {id(e[0]) for q in asked for e in index.about(q.mention)})
            found = max((one for one in (found, text) if one is not None), key=lambda one: one.score, default=None)
        return found

    def _ways(self, index: PassageIndex, query: Query, meaning: Meaning | None) -> list[tuple[_Way, Query]]:
        if query.turned:
            ways = self._step(index, query, query.steps[0], _Way(query.weight, (), query.mention), None)
            return [(way, query) for way in ways]
        ways = [_Way(query.weight, (), query.mention)]
        for place, step in enumerate(query.steps):
            last = place == len(query.steps) - 1
            ways = [to for way in ways for to in self._onwards(index, query, step, way, meaning, last)]
        return [(way, query) for way in ways if way.entries]

    def _onwards(
        self, index: PassageIndex, query: Query, step: Step, way: _Way, meaning: Meaning | None, last: bool
    ) -> list[_Way]:
        ways = self._step(index, query, step, way, meaning, last)
        composite = (*way.at, POSSESSIVE, *step.key)
        if step.key and not last and index.knows(composite):  # "Ada's sister" is spoken of by that name
            ways.append(_Way(way.score, way.entries, composite))
        return ways

    def _step(
        self, index: PassageIndex, query: Query, step: Step, way: _Way, meaning: Meaning | None, last: bool = True
    ) -> list[_Way]:
        entries = self._current(index, way.at, query.turned)
        entries = [entry for entry in entries if not last or matching.fits(query, *entry)]
        strange = [not query.polar and matching.strangers(step, entry[1], entry[0]) for entry in entries]
        scores = [matching.by_name(query, step, statement) for _, statement in entries]
        scores = [score / 2 if odd else score for score, odd in zip(scores, strange, strict=True)]
        if meaning is not None and not query.turned:
            places = [n for n, odd in enumerate(strange) if not odd]
            left = [matching.openness(query, step, entries[n][1]) for n in places]
            near = meaning.agreement(step, [entries[n] for n in places], left)
            for n, score in zip(places, near, strict=True):
                scores[n] = max(scores[n], score)
        return [_Way(min(way.score, score), (*way.entries, entries[n]), value_key(*entries[n]))
                for n, score in _newest(entries, scores)]  # fmt: skip

    def _current(self, index: PassageIndex, name: Key, turned: bool) -> list[Entry]:
        """What holds of a name: as the one who is spoken of, or as what is said of others."""
        if not turned:
            return matching.holding(index.about(name))
        return [entry for entry in index.valued(name) if entry in matching.holding(index.about(entry[1].subject))]

    # ---- searching what is not read as a statement ------------------------------------------------------------------

    def _search(self, index: PassageIndex, question: str, read: set[int]) -> Found | None:
        wanted = stems(question)
        scores = index.coverage(wanted)
        if self.embedder is not None and index.loose_count:
            index.embed(self.journal, self.embedder)
            for number, cosine in index.nearest(self.embedder([question])[0], NEAR):
                scores[number] = max(scores.get(number, 0.0), (scores.get(number, 0.0) + cosine) / 2)
        names = {word.stem for word in words(question)[1:] if word.named}
        best: tuple[float, int, Passage] | None = None
        for number, score in nlargest(CLOSE, scores.items(), key=lambda one: one[1]):
            passage = index.loose(number)
            if id(passage) in read or names - stems(passage.text) or any(map(denies, words(passage.text))):
                continue
            if best is None or (round(score / TIE), passage.fact.seq) > (round(best[0] / TIE), best[1]):
                best = score, passage.fact.seq, passage
        if best is None:
            return None
        passage = best[2]
        return Found("", best[0], (_cite(passage, passage.start, passage.end),))


def answer_text(found: Found) -> str:
    """The answer in one polite sentence: the words asked for, and where they stand."""
    quotes = [f'"{one.quote}"' + (f" ({one.source})" if one.source else "") for one in found.citations]
    told = f"you told me: {' and '.join(quotes)}"
    return f"{found.value}: {told}" if found.value else told[0].upper() + told[1:]


def _best(ways: Sequence[tuple[_Way, Query] | None]) -> tuple[_Way, Query] | None:
    return max(
        (way for way in ways if way is not None),
        key=lambda way: (round(way[0].score / TIE), way[0].entries[-1][0].fact.seq),
        default=None,
    )


def _newest(entries: Sequence[Entry], scores: Sequence[float]) -> list[tuple[int, float]]:
    """The places of the best statement, with its score; of those that score alike the newest."""
    if not any(score > 0 for score in scores):
        return []
    best = max(range(len(scores)), key=lambda n: (round(scores[n] / TIE), entries[n][0].fact.seq))
    return [(best, scores[best])]


def _found(way: _Way, query: Query) -> Found:
    citations = tuple(_cite(passage, statement.start, statement.end) for passage, statement in way.entries)
    passage, statement = way.entries[-1]
    at = statement.subject_at if query.turned else statement.value_at
    return Found("" if query.polar else passage.fact.text[slice(*at)], way.score, citations)


def _cite(passage: Passage, start: int, end: int) -> Citation:
    fact = passage.fact
    return Citation(fact=fact.seq, source=fact.source, start=start, end=end, quote=fact.text[start:end])
