"""Islands of knights, who always tell the truth, and knaves, who always lie.

    Each inhabitant is either a knight or a knave. Zoe says that Max is a knave. Max says: Zoe and I are knights.

The one idea (Smullyan 1978): what X says is true exactly if X is a knight.
"""

from __future__ import annotations

import itertools

from nexus.reasoning.english.text import Discourse, Effect, English, Query
from nexus.reasoning.formulas import (
    And,
    Atom,
    Formula,
    Iff,
    Implies,
    Or,
    Sym,
    conjunction,
    disjunction,
    individuals,
    negation,
)

DEFAULT = ("knight", "knave")


def roles(d: Discourse) -> tuple[str, str]:
    """The words for who tells the truth and who lies."""
    found = d.memory.get("roles")
    return found if isinstance(found, tuple) else ("", "")


def header(c: English, d: Discourse) -> Effect:
    """The sentences that bring in the two kinds."""
    if c.word == "knights":
        c.need("knights always tell the truth ,", "knights always tell the truth")
        c.need("and knaves always lie")
        truth, liar = DEFAULT
    else:
        c.need("a very special island is inhabited only by", "an island is inhabited only by",
               "each inhabitant is either a", "everyone is either a", "every inhabitant is either a",
               "each person is either a", "on this island everyone is either a")  # fmt: skip
        truth = _role(c)
        c.accept(", who always tells the truth ,")
        c.need("and", "or a", "or an")
        liar = _role(c)
        c.accept(", who always lies")
    if (truth, liar) == DEFAULT[::-1]:
        truth, liar = DEFAULT
    c.finish()

    def effect() -> None:
        d.memory["roles"] = (truth, liar)
        d.memory["told"] = (truth, liar) == DEFAULT  # of other kinds the text has to say who lies

    return effect


def _role(c: English) -> str:
    from nexus.reasoning.english.words import singular

    return singular(c.open_word("kind of inhabitant"))


def telling(c: English, d: Discourse) -> Effect:
    """Knights always tell the truth. Knaves always lie."""
    from nexus.reasoning.english.words import singular

    truth, liar = roles(d)
    if not truth:
        c.fail("is said before the two kinds are named", "begin: each inhabitant is either a knight or a knave")
    while True:
        kind = singular(c.open_word("kind"))
        if kind not in (truth, liar):
            c.position -= 1
            c.fail("is not one of the two kinds", f"use {truth} and {liar}")
        c.need("always tell the truth" if kind == truth else "always lie")
        if not c.accept(", and", "and", ","):
            break
    c.finish()
    return lambda: d.memory.__setitem__("told", True)


def people(c: English, d: Discourse) -> Effect:
    """You meet 3 inhabitants: Ann, Bob, and Carl."""
    if not roles(d)[0]:
        c.fail("comes before the two kinds are named")
    c.need("you meet", "there are")
    c.number()
    c.need("inhabitants :", "inhabitants", "people :")
    names = [c.open_word("name")]
    while c.accept(", and", "and", ","):
        names.append(c.open_word("name"))
    c.finish()

    def effect() -> None:
        d.memory["islanders"] = [d.name(n) for n in names]

    return effect


class Saying:
    """What an inhabitant says, as a formula over "is a knight"."""

    def __init__(self, c: English, d: Discourse, speaker: str) -> None:
        self.c, self.truth, self.liar, self.speaker = c, *roles(d), speaker

    def knight(self, who: str) -> Formula:
        return Atom(self.truth, (Sym(who),))

    def someone(self) -> str:
        if self.c.accept("i"):
            return self.speaker
        if self.c.done or not self.c.token.text[:1].isupper():
            self.c.fail("is no name", "begin names with a capital letter")
        return self.c.open_word("name").lower()

    def role(self) -> bool:
        """Whether "knight" or "knave" comes next."""
        from nexus.reasoning.english.words import singular

        self.c.accept("a", "an")
        word = singular(self.c.word)
        if word not in (self.truth, self.liar):
            self.c.fail("is not one of the two kinds", f"use {self.truth} and {self.liar}")
        self.c.take()
        return word == self.truth

    def statement(self) -> Formula:
        c = self.c
        if c.accept("if and only if"):
            c.fail("lacks a first part")
        if c.accept("if"):
            condition = self.several()
            c.need(", then", "then", ",")
            return Implies(condition, self.several())
        if c.accept("either"):
            first = self.simple()
            c.need("or", ", or")
            return Or((first, self.simple()))
        if c.accept("at least one of"):
            return disjunction(self._group())
        first = self.several()
        if c.accept("if and only if"):
            return Iff(first, self.several())
        return first

    def _group(self) -> list[Formula]:
        names = [self.someone()]
        while self.c.accept(", and", "and", ","):
            names.append(self.someone())
        self.c.need("is", "are")
        kind = self.role()
        return [self.knight(n) if kind else negation(self.knight(n)) for n in names]

    def several(self) -> Formula:
        """Simple statements joined by "and", or by "or"."""
        parts, sign = [self.simple()], ""
        while self.c.accept(","):
            pass
        while self.c.word in ("and", "or"):
            word = self.c.take().text.lower()
            if sign and sign != word:
                self.c.position -= 1
                self.c.fail("mixes 'and' with 'or'", "say it in two sentences")
            sign = word
            parts.append(self.simple())
        return disjunction(parts) if sign == "or" else conjunction(parts)

    def simple(self) -> Formula:
        c = self.c
        if c.accept("both"):
            return conjunction(self._group())
        if c.accept("neither"):
            first = self.someone()
            c.need("nor")
            names = [first, self.someone()]
            c.need("is", "are")
            kind = self.role()
            return And(tuple(negation(self.knight(n)) if kind else self.knight(n) for n in names))
        who = [self.someone()]
        while c.word == "and" and c.peek(2) in ("are", "and"):
            c.take()
            who.append(self.someone())
        c.need("is", "are", "am")
        negative = c.accept("not")
        if c.accept("the same kind", "of the same kind") and len(who) == 2:
            same: Formula = Iff(self.knight(who[0]), self.knight(who[1]))
            return negation(same) if negative else same
        if c.accept("both") and len(who) < 2:
            c.fail("needs two names")
        kind = self.role() != negative
        return conjunction(self.knight(w) if kind else negation(self.knight(w)) for w in who)


_SAYS = ("says", "said", "claims", "told you", "tells you", "remarked", "noted", "commented", "stated", "asserted",
         "expressed", "declared", "insisted", "mentions", "mentioned", "replied", "announced", "claimed",
         "was heard saying")  # fmt: skip


def saying(c: English, d: Discourse) -> Effect:
    """X says (that) S.  According to X, "S".  "S," X declared."""
    truth = roles(d)[0]
    if not truth:
        c.fail("says something, but nobody is known to tell the truth or lie", f"begin with {DEFAULT[0]}s and knaves")
    behind = c.word == '"'
    speaker = _speaker_behind(c) if behind else _speaker(c)
    quoted = c.accept('"')
    reader = Saying(c, d, speaker.lower())
    said = reader.statement()
    if quoted:
        c.accept(".", ",")
        c.need('"')
    if behind:
        _told(c)
    c.finish()
    if not d.memory.get("told"):
        c.fail(
            "ends what somebody says, and the text does not say which kind lies",
            f"write: {truth}s always tell the truth",
        )

    def effect() -> None:
        key = d.name(speaker)
        islanders = d.memory.setdefault("islanders", [])
        assert isinstance(islanders, list)
        islanders += [name for name in dict.fromkeys([key, *individuals([said])]) if name not in islanders]
        d.phrases[truth] = f"{{0}} is a {truth}"
        d.say(c.text(), Iff(Atom(truth, (Sym(key),)), said))

    return effect


def _speaker(c: English) -> str:
    """X says that ...  According to X, ...  In X's words: ..."""
    if c.accept("according to", "in a statement by", "as"):
        speaker = c.open_word("name")
        c.need(",", ":", "put it ,")
    elif c.word == "in" and c.peek().endswith("'s"):
        c.take()
        speaker = c.take().text.removesuffix("'s")
        c.need("words :", "words ,")
    else:
        speaker = c.open_word("name")
        c.need(*_SAYS)
        c.accept("that", ":", ",")
    return speaker


def _speaker_behind(c: English) -> str:
    """Who says what stands before between quotation marks."""
    words = [t.text for t in c.stream]
    rest = words[len(words) - 1 - words[::-1].index('"') + 1 :]
    if len(rest) != 2 or (rest[0] != "-" and rest[1].lower() not in _SAYS):
        c.fail("opens words that nobody says", 'write: "..." says Ann, or Ann says that ...')
    return rest[1] if rest[0] == "-" or rest[0].lower() in _SAYS else rest[0]


def _told(c: English) -> None:
    c.take()
    c.take()


def question(c: English, d: Discourse) -> Effect:
    """Who is a knight and who is a knave?  Is Ann a knight?"""
    truth, liar = roles(d)
    islanders = d.memory.get("islanders")
    if not truth or not isinstance(islanders, list):
        c.fail("asks who tells the truth, and nobody has said anything")
    c.accept("so", "then", ",")
    if c.accept("is"):
        reader = Saying(c, d, "")
        who = reader.someone()
        kind = reader.role()
        c.finish()
        asked = reader.knight(who) if kind else negation(reader.knight(who))
        return lambda: d.queries.append(Query("decide", c.text(), formula=asked))
    reader = Saying(c, d, "")
    c.need("who is")
    first = reader.role()
    c.accept(",")
    c.need("and who is")
    if reader.role() == first:
        c.position -= 1
        c.fail("is asked for twice", f"ask: who is a {truth} and who is a {liar}?")
    c.finish()
    atoms = {name: Atom(truth, (Sym(name),)) for name in islanders}

    def effect() -> None:
        candidates = {}
        for row in itertools.product((True, False), repeat=len(islanders)):
            text = ", ".join(
                f"{d.names.get(n, n)} is a {truth if k else liar}" for n, k in zip(islanders, row, strict=True)
            )
            candidates[text] = conjunction(
                atoms[n] if k else negation(atoms[n]) for n, k in zip(islanders, row, strict=True)
            )
        d.queries.append(Query("which", c.text(), candidates=candidates))

    return effect
