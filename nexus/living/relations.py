"""Everyday relations and the words people use for them: a small table, so that "boss" finds "manager" and not "father".

The one idea: every relation has one name; nouns, verbs and phrases lead to it. Verbs have a direction: in "S reports to
V" the subject is the one who is told about, in "V manages S" it is the object. Words that are not in the table stand
for themselves. What the table does not know is left to the embedding, which the table also serves: a question that is
nearer to another relation than to the one taught is not answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nexus.living.words import ARTICLES, SMALL, Word, stem

Kind = Literal["noun", "verb", "turned"]  # a turned verb has the one who is told about as its object

_TABLE = Path(__file__).with_name("relations.txt")
_BROADER = {
    "father": "parent", "mother": "parent", "sister": "sibling", "brother": "sibling", "son": "child",
    "daughter": "child", "wife": "spouse", "husband": "spouse", "headquarters": "location",
}  # fmt: skip
# What a verb is about when it is asked, or told, with a time instead of a place or a person.
TIMED = {"birthplace": "birthday", "founder": "foundation", "publisher": "publication", "language": "writ"}
# Words that only say what kind of answer is wanted.
_KIND_WORDS = (
    "name named called call city town country place person people man woman someone somebody year day date time hour "
    "month thing kind sort type number amount called company firm anything something anyone anybody "
    "exactly again originally original first current present story plot mine holder these those days answer question "
    "one ones goes copy edition"
)
KINDS = frozenset(stem(word) for word in _KIND_WORDS.split())


@dataclass(frozen=True)
class Sense:
    """What words of a sentence stand for: places [first:last], the relation or the word itself, and its direction."""

    relation: str
    kind: Kind
    first: int
    last: int
    known: bool


def _rows() -> Iterator[tuple[str, str, Kind]]:
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    for line in (line for line in lines if not line.startswith("#")):
        columns = [[phrase.strip() for phrase in column.split(",") if phrase.strip()] for column in line.split("|")]
        name = columns[0][0]
        for kind, phrases in zip(("noun", "verb", "turned"), columns, strict=False):
            for phrase in phrases:
                yield phrase, name, kind  # type: ignore[misc]


TABLE = tuple(_rows())  # phrase, relation, kind
PHRASES: dict[tuple[str, ...], dict[Kind, str]] = {}
for _phrase, _name, _kind in TABLE:
    _words = tuple(stem(word) for word in _phrase.split() if word not in ARTICLES)
    PHRASES.setdefault(_words, {}).setdefault(_kind, _name)
LONGEST = max(map(len, PHRASES))
WEAK = frozenset(("favourite",))  # no relation of its own: to agree in it is no agreement
NAMES = tuple(dict.fromkeys(name for kinds in PHRASES.values() for name in kinds.values()))
NAMED = frozenset(NAMES)


def senses(found: Sequence[Word], prefer: Kind = "noun") -> list[Sense]:
    """What the words stand for, longest phrases first; articles are skipped, small words only count inside phrases."""
    places = [place for place, word in enumerate(found) if word.norm not in ARTICLES]
    made, at = [], 0
    while at < len(places):
        size = next((n for n in range(LONGEST, 0, -1) if _stems(found, places[at : at + n], n) in PHRASES), 0)
        word = found[places[at]]
        if size:
            kinds = PHRASES[_stems(found, places[at : at + size], size)]
            kind = prefer if prefer in kinds else next(iter(kinds))
            relation = kinds[kind]
            made.append(Sense(relation, kind, places[at], places[at + size - 1] + 1, True))
        elif word.norm not in SMALL:
            made.append(Sense(word.stem, "noun", places[at], places[at] + 1, False))
        at += max(size, 1)
    return made


def _stems(found: Sequence[Word], places: Sequence[int], size: int) -> tuple[str, ...]:
    return tuple(found[place].stem for place in places) if len(places) == size else ()


def phrase_at(found: Sequence[Word], at: int) -> Sense | None:
    """The verb phrase of the table that begins at this word, if one does."""
    begin = next((sense for sense in senses(found[at:], "verb") if sense.first == 0), None)
    if begin is None or not begin.known or begin.kind == "noun":
        return None
    return Sense(begin.relation, begin.kind, at, at + begin.last, True)


def covers(wanted: str, told: str) -> bool:
    """Whether a relation that was told answers one that is wanted: the same, or a narrower one."""
    return wanted == told or _BROADER.get(told) == wanted


def akin(first: str, second: str) -> bool:
    """Whether two relations may stand for each other."""
    return covers(first, second) or covers(second, first)
