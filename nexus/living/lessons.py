"""Lessons: what was taught, put as questions with answers and as plain statements, for weights to learn from.

The one idea: a language model finds a fact again in the form in which it learnt it, so each sentence is turned into the
questions that it answers (a dozen rules of English grammar, no model) and is kept as a statement too. A sentence that
no rule reads is learnt as a statement only. Asking a model to write its own lessons (SEAL, arXiv:2506.10943) needs a
larger one than a student of this size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nexus.living.facts import Fact
from nexus.living.words import sentences

_BE = r"(?P<be>is|are|was|were)"
_WHOSE = re.compile(rf"(?P<whose>.+?)'s? (?P<what>[\w -]+?) {_BE} (?P<value>.+)")
_OF = re.compile(rf"(?:the )?(?P<what>[\w -]+?) of (?P<whose>.+?) {_BE} (?P<value>.+)", re.IGNORECASE)
_IS = re.compile(rf"(?P<who>.+?) {_BE} (?P<value>.+)")
_DOES = re.compile(r"(?P<who>.+?) (?P<verb>\w+s) (?P<place>in|at|on|for|with|by|from|to|near) (?P<value>.+)")
_PLACES = ("in", "at", "on", "near", "from")


@dataclass(frozen=True)
class Lesson:
    """One thing to learn; ``prompt`` is empty for a statement. ``fact`` is the fact's number in the journal."""

    fact: int
    prompt: str
    answer: str


def lessons(facts: Iterable[Fact]) -> list[Lesson]:
    """All lessons of some facts, oldest first, sentence by sentence; where two answer one question the newest counts.

    A sentence whose questions are all answered otherwise by a newer one teaches nothing.
    """
    read = [(fact.seq, *_read(fact.text[start:end])) for fact in facts for start, end in sentences(fact.text)]
    newest = {asked: place for place, (_, _, pairs) in enumerate(read) for asked, _ in pairs}
    found = []
    for place, (seq, sentence, pairs) in enumerate(read):
        kept = [(asked, answer) for asked, answer in pairs if newest[asked] == place]
        found += [Lesson(seq, asked, answer) for asked, answer in kept]
        if kept or not pairs:
            found.append(Lesson(seq, "", sentence))
    return found


def _read(sentence: str) -> tuple[str, list[tuple[str, str]]]:
    return sentence, questions(sentence)


def questions(sentence: str) -> list[tuple[str, str]]:
    """The questions that a sentence answers, with the answers: words that stand in the sentence."""
    plain = sentence.strip().rstrip(".!").strip()
    for form, ask in ((_WHOSE, _ask_whose), (_OF, _ask_whose), (_DOES, _ask_does), (_IS, _ask_is)):
        match = form.fullmatch(plain)
        if match:
            return [(f"{question}?", match["value"]) for question in ask(match)]
    return []


def _ask_whose(match: re.Match[str]) -> Iterator[str]:
    what, whose, be = match["what"].strip(), _inside(match["whose"]), match["be"]
    yield f"What {be} the {what} of {whose}"
    yield f"What {be} {whose}'s {what}"


def _ask_does(match: re.Match[str]) -> Iterator[str]:
    who, verb, place = _inside(match["who"]), _infinitive(match["verb"]), match["place"]
    yield f"What does {who} {verb} {place}"
    if place in _PLACES:
        yield f"Where does {who} {verb}"


def _ask_is(match: re.Match[str]) -> Iterator[str]:
    who, be = _inside(match["who"]), match["be"]
    yield f"{'Where' if match['value'].startswith(('in ', 'at ', 'on ', 'near ')) else 'What'} {be} {who}"


def _inside(name: str) -> str:
    """As it is written within a sentence: an article at the beginning loses its capital."""
    first, space, rest = name.partition(" ")
    return f"{first.lower()}{space}{rest}" if first in ("The", "A", "An", "My", "Our", "Your", "This") else name


def _infinitive(verb: str) -> str:
    if verb.endswith("ies") and len(verb) > 4:
        return f"{verb[:-3]}y"
    return verb[:-2] if verb.endswith(("ches", "shes", "sses", "xes", "oes")) else verb[:-1]
