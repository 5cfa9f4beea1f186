"""Where what is said ends: a value without the words that only say when, how much or as what it holds.

The one idea: after a name, what follows in small letters is besides it ("the Greens in elections"); after other words
only a few endings are, which everybody uses ("soup best of all", "182 centimetres tall"). The whole sentence is quoted
beside the value, so nothing is lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nexus.living.words import ARTICLES, PREPOSITIONS, Word, stem

_COUNTED = frozenset(map(stem, ("people", "persons", "employees", "inhabitants", "residents", "workers", "citizens")))
_OPENS = PREPOSITIONS | {"every", "all", "most", "best", "more", "very", "too", "these", "last"}
_TAIL = re.compile(
    r"\b(?:every (?:day|week|month|year|morning|evening|night|time)|all the time|at (?:the moment|present|heart)"
    r"|these days|nowadays|right now|currently|originally|by (?:far|trade|profession|heart)"
    r"|(?:the )?(?:best|most)(?: of all\b.*)?|above all(?: else)?|very much|a lot|more than\b.*|ever|online"
    r"|for (?:fun|now)|as (?:its|his|her|their)\b.*|(?:for|in|of|with|during) (?:his|her|their|its)\b.*|on weekends"
    r"|last year|for an? \w+|in (?:spare|free) time|(?:a|per) (?:day|week|month|year)|any ?more|so far)$",
    re.IGNORECASE,
)
_MEASURE = re.compile(r"(?<=\w) (?:tall|old|long|high|wide|deep|heavy|strong|thick|big|large|in all|in total)$")


def ended(text: str, value: Sequence[Word]) -> Sequence[Word]:
    """The words of a value up to where it ends; never none of them."""
    last = max((n for n, word in enumerate(value) if word.named), default=None)
    if last is not None and last + 1 < len(value) and value[last].text[0].isupper() and _beside(value[last + 1]):
        return value[: last + 1]
    if len(value) == 2 and value[0].text[0].isdigit() and value[1].stem in _COUNTED:
        return value[:1]  # as in "Acme has 900 employees"
    said = text[value[0].start : value[-1].end]
    cut = _TAIL.search(said) or (_MEASURE.search(said) if said[0].isdigit() else None)
    kept = [word for word in value if cut is None or word.end <= value[0].start + cut.start()]
    return kept if any(word.norm not in ARTICLES | PREPOSITIONS for word in kept) else value


def _beside(word: Word) -> bool:
    return word.norm in _OPENS and word.norm not in ("of", "and", "or")
