"""The retriever: a question in, an answer out that quotes what its owner taught, or None.

The one idea: an answer is made of spans of taught texts and nothing else, so none can be unsupported. It follows the
question's path through what was taught (nexus/living/asking.py), the newest statement first where several say the
same; what is not read as a statement is searched by words and by meaning. Where names do not settle what is asked, the
score is the probability that meaning, names and kinds give (nexus/living/meaning.py), for a gate to decide on.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from pathlib import Path

from nexus.living import matching
from nexus.living.answers import Answer, Citation
from nexus.living.asking import Query, Step, queries
from nexus.living.embedder import Embedder
from nexus.living.journal import Journal
from nexus.living.judge import Judge
from nexus.living.passage_index import PassageIndex, stems, value_key
from nexus.living.passages import Entry, Passage
from nexus.living.reading import Key, denies
from nexus.living.words import POSSESSIVE, words

MARGIN = 0.65  # the score below which nothing is said
OF_IT = 0.4  # cosine or probability from which a thing of someone may be what a statement about them is about
TIE = 0.02  # scores this near are alike
EVEN, DOUBT = 0.5, 0.2  # what is newer and probably answers the question counts; less probably it is a doubt
NEAR, CLOSE = 5, 20  # passages that are near in meaning; that are looked at closely
MAX_QUESTION = 60  # words; a longer text is no question to memory
MAX_OWNERS = 256  # indexes that are kept; others are made anew when they are asked
READER = "3"  # goes up whenever the same journal may be answered differently


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
        folder: where what is learnt of the embedder is kept from one run to the next; None for in memory only.
    """

    def __init__(
        self, journal: Journal, embedder: Embedder | None, margin: float = MARGIN, folder: Path | None = None
    ) -> None:
        self.journal, self.embedder, self.margin = journal, embedder, margin
        self._judge = Judge(embedder, folder) if embedder is not None else None
        self._indexes: dict[str, PassageIndex] = {}
        self._turn = threading.RLock()

    @property
    def identity(self) -> str:
        """What a certificate of this channel is bound to: how it reads and what made its vectors."""
        return f"reader-{READER}, {self.embedder.name if self.embedder is not None else 'words only'}"

    def prepare(self) -> None:
        """Learn what the embedder means, or read it from the folder, before the first question."""
        if self._judge is not None:
            self._judge.prepare()

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
            if index.sync(self.journal) and self._judge is not None:
                self._judge.forget()  # it keeps vectors of texts that are no facts any more
            return index

    # ---- following a path -------------------------------------------------------------------------------------------

    def _find(self, index: PassageIndex, question: str) -> Found | None:
        if not 0 < len(words(question)) <= MAX_QUESTION:
            return None
        asked = queries(question, index.knows)
        best = _best([way for query in asked for way in self._by_names(index, query)])
        if self._judge is not None and (best is None or best[0].score < matching.SURE):
            kept = best if best is not None and (best[1].turned or best[1].polar) else None
            best = _best([kept, *(way for query in asked for way in self._by_meaning(index, query, self._judge))])
        if best is not None and self._judge is not None and not best[1].turned:
            best = self._renewed(index, *best, self._judge), best[1]
        found = _found(*best) if best is not None else None
        if found is None or found.score < matching.SURE:
            text = self._search(index, question, {id(e[0]) for q in asked for e in index.about(q.mention) if e[0].read})
            found = max((one for one in (found, text) if one is not None), key=lambda one: one.score, default=None)
        return found

    def _by_names(self, index: PassageIndex, query: Query) -> list[tuple[_Way, Query]]:
        ways = [_Way(query.weight, (), query.mention)]
        for place, step in enumerate(query.steps):
            last = place == len(query.steps) - 1
            ways = [to for way in ways for to in self._onwards(index, query, step, way, None, last)]
        return [(way, query) for way in ways if way.entries]

    def _by_meaning(self, index: PassageIndex, query: Query, judge: Judge) -> list[tuple[_Way, Query]]:
        """Step by step, and as one step that names need not reach."""
        if query.polar:
            return []
        whole, start = replace(query, turned=False), _Way(query.weight, (), query.mention)
        ways = []
        if query.weight == 1.0:  # the less usual way to understand a question differs in its steps alone
            entries = self._current(index, query.mention, False)
            entries = [entry for entry in entries if matching.admits(query, query.whole, *entry)]
            if len(query.steps) > 1:
                entries = [entry for entry in entries if _at_once(query, entry, judge)]
            scores = judge.probabilities(whole, query.whole, entries)
            ways = [_towards(start, entries[n], score) for n, score in _newest(entries, scores)]
        if len(query.steps) > 1:
            along = [start]
            for place, step in enumerate(query.steps):
                last = place == len(query.steps) - 1
                along = [to for way in along for to in self._onwards(index, query, step, way, judge, last)]
            ways += [way for way in along if way.entries]
        return [(way, whole) for way in ways]

    def _onwards(
        self, index: PassageIndex, query: Query, step: Step, way: _Way, judge: Judge | None, last: bool
    ) -> list[_Way]:
        ways = self._step(index, query, step, way, judge, last)
        composite = (*way.at, POSSESSIVE, *step.key)
        if step.key and not last and index.knows(composite):  # "Ada's sister" is spoken of by that name
            ways.append(_Way(way.score, way.entries, composite))
        return ways

    def _step(
        self, index: PassageIndex, query: Query, step: Step, way: _Way, judge: Judge | None, last: bool
    ) -> list[_Way]:
        entries = self._current(index, way.at, query.turned)
        entries = [entry for entry in entries if not last or matching.fits(query, *entry)]
        strange = [not query.polar and matching.strangers(step, passage) for passage, _ in entries]
        scores = [matching.by_name(query, step, statement) for _, statement in entries]
        scores = [score / 2 if odd else score for score, odd in zip(scores, strange, strict=True)]
        if judge is not None and max(scores, default=0.0) < matching.SURE:
            asked = query if last else replace(query, wanted="")
            entries = [entry for entry in entries if matching.admits(asked, step, *entry)]
            scores = judge.probabilities(asked, step, entries)
        return [_towards(way, entries[n], score) for n, score in _newest(entries, scores)]

    def _renewed(self, index: PassageIndex, way: _Way, query: Query, judge: Judge) -> _Way:
        """The way to the newest statement that says the same in other words, or that answers the question as probably
        as not; where names say so they were compared."""
        passage, statement = way.entries[-1]
        newer = [
            entry
            for entry in self._current(index, statement.subject, False)
            if entry[0].fact.seq > passage.fact.seq and matching.may_restate(way.entries[-1], entry)
        ]
        step = query.whole if len(way.entries) == 1 else query.steps[-1]
        newer = [entry for entry in newer if query.polar or matching.admits(query, step, *entry)]
        if not newer:
            return way
        chance = judge.probabilities(query, step, newer)
        same = judge.restated(way.entries[-1], newer)
        if same := [
            entry for entry, one in zip(newer, chance, strict=True) if entry in same and (one >= DOUBT or query.polar)
        ]:
            return replace(way, entries=(*way.entries[:-1], max(same, key=lambda entry: entry[0].fact.seq)))
        if query.polar:
            return way
        later = [(entry, one) for entry, one in zip(newer, chance, strict=True) if one >= EVEN]
        if later:
            entry, one = max(later, key=lambda pair: pair[0][0].fact.seq)
            return _Way(min(way.score, one), (*way.entries[:-1], entry), way.at)
        doubt = 1 - max(chance, default=0.0)  # that none of them replaces what was found
        return replace(way, score=min(way.score, doubt)) if doubt < 1 - DOUBT else way

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


def _towards(way: _Way, entry: Entry, score: float) -> _Way:
    return _Way(min(way.score, score), (*way.entries, entry), value_key(*entry))


def _at_once(query: Query, entry: Entry, judge: Judge) -> bool:
    """Whether a statement may answer a question of several steps in one: "What colour are Ada's eyes?" may be answered
    by what is said of her, "Where does Ada's mother live?" may not."""
    if matching.ends_there(query, *entry):
        return True
    return matching.speaks_of(query, entry[1]) and all(
        judge.cosine(step.masked, entry) >= OF_IT or judge.probabilities(query, step, [entry])[0] >= OF_IT
        for step in query.steps[:-1]
    )


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
