"""The index over one owner's passages: who is spoken of, what is said of whom, and which words stand where.

The one idea: it is a projection of the journal and nothing else. Before each question it looks at the journal's version
and takes in what was taught, corrected, forgotten or rolled back since; what is no longer a fact leaves every table at
once. Built from nothing it comes out the same. A lookup costs what it finds, not what is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from nexus.living.embedder import Embedder
from nexus.living.facts import Fact
from nexus.living.journal import Journal
from nexus.living.passages import Entry, Passage, cut
from nexus.living.reading import Key, Statement, name_of
from nexus.living.words import SMALL, words

Floats = NDArray[np.float32]


class PassageIndex:
    """What is known of one owner, up to a version of the journal."""

    def __init__(self, owner: str) -> None:
        self.owner, self.version = owner, 0
        self._facts: dict[int, list[tuple[int, Passage]]] = {}
        self._about: dict[Key, dict[int, list[Entry]]] = {}
        self._valued: dict[Key, dict[int, list[Entry]]] = {}
        self._loose: dict[int, Passage] = {}
        self._where: dict[str, set[int]] = {}
        self._vectors: dict[int, Floats] = {}
        self._matrix: tuple[list[int], Floats] | None = None
        self._next = 0

    # ---- keeping up -------------------------------------------------------------------------------------------------

    def sync(self, journal: Journal) -> bool:
        """Take in what the journal holds now; returns whether something went."""
        with journal.snapshot():
            version = journal.version()
            if version == self.version:
                return False
            held = journal.held_since(self.owner, self.version, self._facts.keys())
            for seq in held.gone:
                self._remove(seq)
            for fact in held.new:
                self._add(fact)
            self.version = version
            return bool(held.gone)

    def embed(self, journal: Journal, embedder: Embedder) -> None:
        """Give a vector to every loose passage; those that the journal keeps are not made again."""
        missing = [number for number in self._loose if number not in self._vectors]
        if not missing:
            return
        facts = {self._loose[number].fact.seq for number in missing}
        kept = journal.vectors(embedder.name, facts)
        fresh = []
        for number in missing:
            vector = kept.get(self._place(number))
            if vector is None:
                fresh.append(number)
            else:
                self._vectors[number] = np.frombuffer(vector, dtype=np.float32)
        if fresh:
            made = embedder([self._loose[number].text for number in fresh])
            self._vectors.update(zip(fresh, made, strict=True))
            journal.keep_vectors(
                embedder.name, {self._place(n): vector.tobytes() for n, vector in zip(fresh, made, strict=True)}
            )
        self._matrix = None

    # ---- looking up -------------------------------------------------------------------------------------------------

    def knows(self, name: Key) -> bool:
        """Whether something of this name was spoken of."""
        return name in self._about or name in self._valued

    def about(self, name: Key) -> list[Entry]:
        """What is said of it."""
        return [entry for entries in self._about.get(name, {}).values() for entry in entries]

    def valued(self, name: Key) -> list[Entry]:
        """Of what else it is said."""
        return [entry for entries in self._valued.get(name, {}).values() for entry in entries]

    def coverage(self, stems: Iterable[str]) -> dict[int, float]:
        """For each loose passage with one of the words: the share of them that it has, weighed by rarity."""
        wanted = set(stems)
        weights = {stem: self._weight(stem) for stem in wanted}
        total, found = sum(weights.values()), dict[int, float]()
        for stem in wanted:
            for number in self._where.get(stem, ()):
                found[number] = found.get(number, 0.0) + weights[stem] / total
        return found

    def nearest(self, vector: Floats, count: int) -> list[tuple[int, float]]:
        """The loose passages that mean most nearly the same, with the cosine."""
        if not self._vectors:
            return []
        if self._matrix is None:
            self._matrix = list(self._vectors), np.stack(list(self._vectors.values()))
        numbers, matrix = self._matrix
        cosines = matrix @ vector
        best = np.argsort(-cosines)[:count]
        return [(numbers[place], float(cosines[place])) for place in best]

    def loose(self, number: int) -> Passage:
        """The passage of a number that :meth:`coverage` or :meth:`nearest` returned."""
        return self._loose[number]

    @property
    def loose_count(self) -> int:
        """How many passages are searched by words and meaning."""
        return len(self._loose)

    def contents(self) -> list[tuple[int, int, int]]:
        """Fact, start and end of every passage, in order: what two indexes are compared by."""
        return sorted((p.fact.seq, p.start, p.end) for passages in self._facts.values() for _, p in passages)

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _add(self, fact: Fact) -> None:
        self._facts[fact.seq] = []
        for passage in cut(fact):
            number, self._next = self._next, self._next + 1
            self._facts[fact.seq].append((number, passage))
            for statement in passage.statements:
                for table, name in self._tables(passage, statement):
                    table.setdefault(name, {}).setdefault(number, []).append((passage, statement))
            if not passage.read or not passage.alone:
                self._loose[number] = passage
                for stem in stems(passage.text):
                    self._where.setdefault(stem, set()).add(number)

    def _remove(self, seq: int) -> None:
        for number, passage in self._facts.pop(seq):
            for statement in passage.statements:
                for table, name in self._tables(passage, statement):
                    table.get(name, {}).pop(number, None)
                    if not table.get(name, True):
                        del table[name]
            if self._loose.pop(number, None) is not None:
                for stem in stems(passage.text):
                    self._where[stem].discard(number)
                    if not self._where[stem]:
                        del self._where[stem]
                if self._vectors.pop(number, None) is not None:
                    self._matrix = None

    def _tables(self, passage: Passage, statement: Statement) -> list[tuple[dict[Key, dict[int, list[Entry]]], Key]]:
        about = (self._about, statement.subject)
        return [about] if statement.mentioned else [about, (self._valued, value_key(passage, statement))]

    def _place(self, number: int) -> tuple[int, int]:
        passage = self._loose[number]
        return passage.fact.seq, passage.start

    def _weight(self, stem: str) -> float:
        return math.log(1 + (len(self._loose) + 1) / (0.5 + len(self._where.get(stem, ()))))


def value_key(passage: Passage, statement: Statement) -> Key:
    """The key of what is said, as if it were spoken of itself."""
    return name_of(words(passage.fact.text, *statement.value_at))


def stems(text: str) -> set[str]:
    """The words that a passage is found by."""
    return {word.stem for word in words(text) if word.norm not in SMALL}
