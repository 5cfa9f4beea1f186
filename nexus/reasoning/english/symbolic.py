"""Propositions with letters and signs: P → Q, ¬R, (A ∨ B), "If P then Q". One formula a sentence.

Reads ¬ ~ !, ∧ &, ∨ |, → ->, ↔ <-> and letters with or without a digit; a mixture that needs brackets is refused.
"""

from __future__ import annotations

from typing import Any

from nexus.reasoning.english.text import Discourse, Effect, English, Query
from nexus.reasoning.formulas import And, Atom, Formula, Iff, Implies, Not, Or

_SIGNS: dict[str, Any] = {"∧": And, "&": And, "∨": Or, "|": Or}


def _formula(c: English) -> Formula:
    left = _operand(c)
    if c.word in _SIGNS:
        sign = c.word
        parts = [left]
        while c.accept(sign):
            parts.append(_operand(c))
        left = _SIGNS[sign](tuple(parts))
        if c.word in _SIGNS:
            c.fail("mixes signs without brackets", "put one of them into ( )")
    if c.accept("→", "- >"):
        return Implies(left, _formula(c))
    if c.accept("↔", "< - >"):
        return Iff(left, _formula(c))
    return left


def _operand(c: English) -> Formula:
    if c.accept("¬", "~", "!"):
        return Not(_operand(c))
    if c.accept("("):
        inner = _formula(c)
        c.need(")")
        return inner
    token = c.token
    if len(token.text) != 1 or not token.text.isupper():
        c.fail("is no proposition", "use single capital letters")
    c.take()
    return Atom(token.text)


def statement(c: English, d: Discourse) -> Effect:
    """A formula that holds."""
    if c.end == "?":
        c.fail("begins a question")
    formula = _formula(c)
    c.finish()
    return lambda: d.say(c.text(), formula)


def question(c: English, d: Discourse) -> Effect:
    """Does P follow?  Is P true?  Prove: P."""
    c.accept("does", "is", "prove :", "prove that", "true or false :")
    formula = _formula(c)
    c.accept("follow", "true")
    c.finish()
    return lambda: d.queries.append(Query("decide", c.text(), formula=formula))
