"""Which prompts a version of weights answers: those that name something it was taught about.

The one idea: what was learnt about Bo can help only where Bo is spoken of, so everywhere else the release itself
speaks, to the last digit. A change of weights spreads; where it speaks need not. Whether the edited model answers is
chosen by what was edited in SERAC (Mitchell et al. 2022, arXiv:2206.06520) and MELO (Yu et al. 2023, arXiv:2312.11795).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nexus.core.files import atomic_write_text
from nexus.living.reading import read
from nexus.living.words import MINE, PERSONS, POSSESSIVE, SMALL, Word, content, sentences, stem, words

__all__ = ["FILE", "Reach", "names"]

FILE = "reach.json"  # in the folder of a version, and erased with it
_ASIDE = frozenset(("me", "us"))  # "tell me" asks nothing about whoever asks


@dataclass(frozen=True)
class Reach:
    """What has to be named for a version to speak.

    Attributes:
        subjects: stems of the words of each name, and how many of them have to stand in a prompt; None: it speaks
            everywhere, as versions do that were made before there was a reach.
    """

    subjects: frozenset[tuple[int, frozenset[str]]] | None = None

    @classmethod
    def of(cls, facts: Iterable[str]) -> Reach:
        """What is named by whoever asks for one of these facts."""
        return cls(frozenset(found for text in facts for found in _subjects(text)))

    def covers(self, prompt: str) -> bool:
        """Whether anything that was taught about is named; in time linear in the prompt, whatever was taught."""
        if self.subjects is None:
            return True
        seen: Counter[int] = Counter()
        for each in {_stem(word) for word in words(prompt) if word.norm not in _ASIDE}:
            seen.update(self._places.get(each, ()))
        return any(count >= self._subjects[place][0] for place, count in seen.items())

    def words(self) -> str:
        """Where, in words."""
        if self.subjects is None:
            return "everywhere"
        return f"where one of {len(self.subjects)} things is named that it was taught about; elsewhere the release does"

    @cached_property
    def _subjects(self) -> list[tuple[int, frozenset[str]]]:
        return list(self.subjects or ())

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        found = defaultdict(list)
        for place, (_, stems) in enumerate(self._subjects):
            for each in stems:
                found[each].append(place)
        return dict(found)

    def save(self, folder: Path) -> None:
        """Write it beside the adapter that it belongs to."""
        rows = None if self.subjects is None else sorted([needed, *sorted(stems)] for needed, stems in self.subjects)
        atomic_write_text(folder / FILE, json.dumps(rows) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Reach:
        """Read it; everywhere if the version was made without one.

        Raises:
            ValueError: the file holds something else.
        """
        if not (folder / FILE).is_file():
            return cls()
        try:
            rows = json.loads((folder / FILE).read_text(encoding="utf-8"))
            return cls(None if rows is None else frozenset((int(row[0]), frozenset(row[1:])) for row in rows))
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError(f"{folder / FILE} is no reach ({error!r}). cure: nexus weights rollback") from None


def names(texts: Iterable[str]) -> list[str]:
    """Whom or what these texts are about, as it is written there, each once; what no rule reads is left out."""
    found = {
        text[slice(*one.subject_at)]: None
        for text in texts
        for start, end in sentences(text)
        for one in read(text, start, end)
        if one.subject[0] not in PERSONS.values()
    }
    return list(found)


def _subjects(text: str) -> Iterable[tuple[int, frozenset[str]]]:
    """Of each sentence all words of whom it is about; where no rule reads one, half of the words that say something."""
    before = None
    for start, end in sentences(text):
        stated = read(text, start, end, before)
        before = stated[-1] if stated else before
        called = [one.subject for one in stated if not SMALL.issuperset(one.subject) or one.subject[0] in PERSONS]
        for subject in called:
            stems = frozenset(stem(word) for word in subject if word != POSSESSIVE)
            yield len(stems), stems
        if not called:
            stems = frozenset(_stem(word) for word in content(words(text, start, end)))
            yield -(-len(stems) // 2), stems


def _stem(word: Word) -> str:
    """As reading calls it: "my" and "me" are of "i"."""
    return stem(MINE.get(word.norm, PERSONS.get(word.norm, word.norm)))
