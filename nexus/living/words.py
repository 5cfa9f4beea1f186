"""Words of a sentence with their places in the text; what reading, asking and searching share. English, no models.

The one idea: a word keeps the characters it came from, so whatever is found can be quoted exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

POSSESSIVE = "'s"
_TOKEN = re.compile(r"['’]s\b|(?<=s)['’](?=\s|$)|\w+(?:[-.,:](?=\d)\w+|-\w+|['’](?!s\b)\w+)*")
_SENTENCE = re.compile(r"\S.*?(?:[.!?](?=[\s\"')]|$)|\n|$)", re.DOTALL)
_ABBREVIATED = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|St|Prof|No|[A-Z])\.$")
ARTICLES = frozenset(("a", "an", "the"))
_BE_WORDS = "is are was were be been being am 're 'm"
BE = frozenset(_BE_WORDS.split())
HAVE = frozenset(("has", "have", "had"))
DO = frozenset(("do", "does", "did"))
MODAL = frozenset(["can", "could", "will", "would", "shall", "should", "may", "might", "must"])
_PREPOSITIONS_WORDS = "in at on to from by for with of as into near under over behind through about"
PREPOSITIONS = frozenset(_PREPOSITIONS_WORDS.split())
ASKING = frozenset(["what", "which", "who", "whom", "whose", "when", "where", "why", "how"])
MINE = {"my": "i", "mine": "i", "our": "we", "ours": "we", "your": "you", "yours": "you"}
PERSONS = {"i": "i", "me": "i", "we": "we", "us": "we", "you": "you"}
_SMALL_WORDS = (
    "as and or it its it's this that that's these those there here not no so too also just now then than if any some "
    "please tell know say give remember told me you i we us he she they him them his her their my your our "
    "get got go let's much many very really currently today these"
)
SMALL = ARTICLES | BE | HAVE | DO | MODAL | PREPOSITIONS | ASKING | frozenset(_SMALL_WORDS.split()) | {POSSESSIVE}
_ENDINGS = ("ingly", "edly", "ings", "ing", "ies", "ied", "es", "ed", "ly", "s", "e", "y")
_IRREGULAR_FORMS = (
    "write wrote written, speak spoke spoken, make made, teach taught, lead led, run ran, drive drove driven, win won, "
    "buy bought, sell sold, meet met, build built, sing sang sung, go went gone, come came, keep kept, hold held, "
    "begin began begun, lie lay lying, eat ate eaten, drink drank drunk, grow grew grown, know knew known, leave left, "
    "wear wore worn, choose chose chosen, pay paid, sit sat, stand stood, think thought, take took taken, give gave "
    "given, shut shut, draw drew drawn, break broke broken, lose lost, send sent, spend spent, sleep slept, "
    "feel felt, bring brought, catch caught, fall fell fallen, fly flew flown, ride rode ridden, swim swam swum, "
    "throw threw thrown, hide hid hidden, lend lent, feed fed, bear bore born, see saw seen, tell told, say said, "
    "become became, hang hung, forget forgot forgotten, steal stole stolen, wake woke woken, ring rang rung, "
    "shake shook shaken, fight fought, seek sought, deal dealt, mean meant, dream dreamt, learn learnt, "
    "person people, child children, man men, woman women, wife wives, foot feet"
)
_IRREGULAR = {form: forms.split()[0] for forms in _IRREGULAR_FORMS.split(",") for form in forms.split()[1:]}


@dataclass(frozen=True)
class Word:
    """A word as written, without case (`norm`), and without endings (`stem`); characters [start:end] of the text."""

    text: str
    norm: str
    stem: str
    start: int
    end: int

    @property
    def named(self) -> bool:
        """Written like a name or a number."""
        return self.text[0].isupper() or self.text[0].isdigit()


def words(text: str, start: int = 0, end: int | None = None) -> list[Word]:
    """The words of a text or of a part of it; `'s` is a word of its own."""
    found: list[Word] = []
    for match in _TOKEN.finditer(text, start, len(text) if end is None else end):
        norm = match[0].casefold().replace("’", "'")
        norm = POSSESSIVE if norm == "'" else norm
        if norm == POSSESSIVE and found and (found[-1].norm in ASKING or found[-1].norm in ("that", "it", "there")):
            norm = "is"
        found.append(Word(match[0], norm, stem(norm), match.start(), match.end()))
    return found


def irregular(norm: str) -> bool:
    """Whether a word is a form that its endings do not tell, as "wrote"."""
    return norm in _IRREGULAR


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A word without its common endings; irregular forms as their base."""
    word = _IRREGULAR.get(word, word)
    for ending in _ENDINGS:
        if ending == "y" and word[-2:-1] in "aeou":
            return word  # "play" keeps what "plays" keeps
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return _double(word.removesuffix(ending), ending)
    return word


def _double(word: str, ending: str) -> str:
    """`stopped` and `running` lose the letter that the ending brought with it."""
    doubled = ending in ("ed", "ing", "ings") and len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz"
    return word[:-1] if doubled else word


def key(found: Sequence[Word]) -> tuple[str, ...]:
    """How something is called, for looking it up: without case and articles; "my dog" is that of "i"."""
    names = [MINE.get(word.norm, PERSONS.get(word.norm, word.norm)) for word in found if word.norm not in ARTICLES]
    if len(found) > 1 and found[0].norm in MINE:
        names.insert(1, POSSESSIVE)
    return tuple(names)


def content(found: Sequence[Word]) -> list[Word]:
    """Words that say something; all of them if none does."""
    return [word for word in found if word.norm not in SMALL] or list(found)


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Where sentences and lines begin and end."""
    begin = None
    for match in _SENTENCE.finditer(text):
        begin = match.start() if begin is None else begin
        end = match.start() + len(match[0].rstrip())
        if _ABBREVIATED.search(text, begin, end) and end < len(text):
            continue
        yield begin, end
        begin = None
    if begin is not None:
        yield begin, len(text.rstrip())
