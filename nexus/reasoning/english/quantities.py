"""Arithmetic word problems: who has how many of what, and how that changes.

    Tom has 3 apples. Ann has twice as many apples as Tom. Tom gives 2 apples to Ann. How many apples does Ann have?

The one idea: each change makes a new quantity, equal to the one before plus or minus what is said; a question is about
the latest. Nothing is assumed about a quantity of which nothing was said, and none may fall below zero.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from nexus.reasoning.english.text import Discourse, Effect, English, Query
from nexus.reasoning.english.words import is_open, is_plural, singular
from nexus.reasoning.formulas import Compare, Formula, Fun, Num, Sym, Term

GAIN = (
    "buys",
    "gets",
    "finds",
    "receives",
    "picks",
    "wins",
    "makes",
    "bakes",
    "collects",
    "earns",
    "gains",
    "adds",
    "bought",
    "got",
    "found",
    "received",
    "picked",
    "won",
    "made",
    "baked",
    "collected",
    "earned",
    "gained",
)
LOSE = (
    "eats",
    "loses",
    "sells",
    "uses",
    "drops",
    "spends",
    "breaks",
    "throws away",
    "gives away",
    "donates",
    "ate",
    "lost",
    "sold",
    "used",
    "dropped",
    "spent",
    "broke",
    "threw away",
    "gave away",
    "donated",
    "uses up",
)
GIVE = ("gives", "hands", "sends", "gave", "handed", "sent")
TAKE = ("takes", "took", "borrows", "borrowed")
_THEN = ("then", "later ,", "later", "after that ,", "next ,", "now")
_TIMES: dict[str, int | Fraction] = {"twice": 2, "double": 2, "thrice": 3, "half": Fraction(1, 2)}
_TOTAL = ("in total", "altogether", "in all", "together", "combined")
_NOW = ("now", "left", "in the end", "at the end", "then")


class Quantities:
    """Reads one sentence about amounts; changes wait in `updates` until it has been understood."""

    def __init__(self, c: English, d: Discourse) -> None:
        self.c, self.d = c, d
        self.count: dict[tuple[str, str], int] = dict(_versions(d))
        known: Any = d.memory.get("amounts", ())
        self.known: set[Fun] = set(known)
        self.axioms: list[Formula] = []
        self.spelling: dict[str, str] = {}
        self.thing, self.single = "", False

    def now(self, who: str, what: str) -> Fun:
        """The latest quantity; a first mention makes it."""
        if (who, what) not in self.count:
            self.count[who, what] = 0
            self._floor(who, what)
        return _quantity(who, what, self.count[who, what])

    def change(self, who: str, what: str, sign: int, amount: Term) -> None:
        before = self.now(who, what)
        self.count[who, what] += 1
        after = _quantity(who, what, self.count[who, what])
        self.axioms.append(Compare("=", after, Fun("+" if sign > 0 else "-", (before, amount))))
        self._floor(who, what)

    def _floor(self, who: str, what: str) -> None:
        self.axioms.append(Compare(">=", _quantity(who, what, self.count[who, what]), Num(Fraction(0))))

    def owner(self) -> str:
        """A name, or "each box"-like holder, or a pronoun with one possible meaning."""
        c = self.c
        if c.word in ("he", "she"):
            people = [who for who in dict.fromkeys(who for who, _ in self.count) if who != "_"]
            if len(people) != 1:
                c.fail("may mean more than one", "write the name")
            c.take()
            return people[0]
        if c.accept("the"):
            word = c.open_word("noun").lower()
            self.spelling[word] = "the " + word
            return word
        if c.done or not c.token.text[:1].isupper():
            c.fail("is no name", "begin names with a capital letter")
        word = c.open_word("name")
        self.spelling[word.lower()] = word
        return word.lower()

    def amount(self) -> Num:
        c = self.c
        money = c.accept("$")
        number = "1" if c.word in ("a", "an") and c.take() else c.number()
        if number is None:
            c.fail("is no amount", "give a number")
        self.thing, self.single = "dollar" if money else "", number == "1"
        return Num(Fraction(number))

    def noun(self) -> str:
        """What is counted; "red apples" are a kind of their own. "More" and "of his" may stand before it."""
        c = self.c
        c.accept("more", "of his", "of her", "of the", "of these", "of them", "other")
        if self.thing:
            return self.thing
        words = [c.open_word("noun")]
        while not c.done and is_open(c.token.text):
            words.append(c.open_word("noun"))
        if any(is_plural(w) for w in words[:-1]) or not (self.single or is_plural(words[-1])):
            c.position -= 1
            c.fail("ends what is counted, and is no plural", "put the noun last: red apples")
        what = " ".join([*(w.lower() for w in words[:-1]), singular(words[-1])])
        other = next((k for _, k in self.count if k != what and k.split()[-1] == what.split()[-1]), None)
        if other:
            c.position -= 1
            c.fail(f"may be counted among the {other}s or not", "call each kind by a name of its own")
        return what

    # ---- statements -------------------------------------------------------------------------------------------------

    def event(self, who: str) -> None:
        """What a sentence says after its subject."""
        c = self.c
        if c.accept("has", "had", "owns", "holds", "contains", "starts with", "started with", "begins with"):
            self.has(who)
        elif c.accept(*GAIN):
            self.gain(who)
        elif c.accept(*LOSE):
            amount = self.amount()
            self.change(who, self.noun(), -1, amount)
        elif c.accept(*GIVE):
            self.give(who)
        elif c.accept(*TAKE):
            amount = self.amount()
            what = self.noun()
            c.need("from")
            self.move(self.owner(), who, what, amount)
        else:
            c.fail("is no verb of having, getting or losing", "use has, buys, gets, eats, loses, gives ... to")

    def has(self, who: str) -> None:
        c = self.c
        if c.word in _TIMES or c.peek() == "times":
            factor = Fraction(_TIMES[c.take().text.lower()]) if c.word in _TIMES else Fraction(c.number() or 0)
            c.accept("times")
            c.need("as many", "as much")
            what = self.noun()
            c.need("as")
            other = self.owner()
            c.accept("has", "does")
            right: Term = Fun("*", (Num(factor), self.now(other, what)))
            self.set(who, what, right)
            return
        if c.accept("as many"):
            what = self.noun()
            c.need("as")
            self.set(who, what, self.now(self.owner(), what))
            return
        amount = self.amount()
        sign = 1 if c.accept("more") else -1 if c.accept("fewer", "less") else 0
        what = self.noun()
        if sign:
            c.need("than")
            other = self.owner()
            c.accept("has", "does")
            right = Fun("+" if sign > 0 else "-", (self.now(other, what), amount))
            self.set(who, what, right)
            return
        self.set(who, what, amount)
        if c.accept("and"):
            self.has(who)

    def set(self, who: str, what: str, value: Term) -> None:
        """What an amount is; said once, for a second time might tell of a change."""
        quantity = self.now(who, what)
        if quantity in self.known:
            self.c.fail("ends a second statement of one amount", "say what was gained or lost")
        self.known.add(quantity)
        self.axioms.append(Compare("=", quantity, value))

    def gain(self, who: str) -> None:
        amount = self.amount()
        what = self.noun()
        if self.c.accept("from"):
            self.move(self.owner(), who, what, amount)
        else:
            self.change(who, what, 1, amount)

    def give(self, who: str) -> None:
        c = self.c
        if c.token.text[:1].isupper():  # gives Ann 2 apples
            other, amount = self.owner(), self.amount()
            self.move(who, other, self.noun(), amount)
            return
        amount = self.amount()
        what = self.noun()
        c.need("to")
        self.move(who, self.owner(), what, amount)

    def move(self, source: str, target: str, what: str, amount: Term) -> None:
        self.change(source, what, -1, amount)
        self.change(target, what, 1, amount)

    # ---- questions --------------------------------------------------------------------------------------------------

    def question(self) -> Term:
        c = self.c
        c.need("how many", "how much")
        compared = c.accept("more", "fewer")
        what = self.noun()
        if c.accept("are there in total", "are there altogether", "are there", "do they have", "do they all have"):
            c.accept(*_TOTAL, *_NOW)
            return self._sum([who for who, kind in self.count if kind == what], what)
        c.need("does", "do", "did")
        owners = [self.owner()]
        while c.accept(", and", "and", ","):
            owners.append(self.owner())
        c.need("have", "own", "hold", "contain")
        if compared:
            fewer = c.stream[2].text.lower() == "fewer"
            c.need("than")
            pair = (self.now(owners[0], what), self.now(self.owner(), what))
            return Fun("-", pair[::-1] if fewer else pair)
        while c.accept(*_TOTAL, *_NOW):
            pass
        return self._sum(owners, what)

    def _sum(self, owners: list[str], what: str) -> Term:
        unknown = [who for who in owners if (who, what) not in self.count]
        if unknown or not owners:
            self.c.position -= 1
            self.c.fail(f"asks about {what}s of which nothing was said", "ask for what the text counts")
        parts = tuple(self.now(who, what) for who in owners)
        return parts[0] if len(parts) == 1 else Fun("+", parts)


def _versions(d: Discourse) -> dict[tuple[str, str], int]:
    found = d.memory.setdefault("quantities", {})
    assert isinstance(found, dict)
    return found


def _quantity(who: str, what: str, version: int) -> Fun:
    later = f"__{version}" if version else ""
    return Fun(f"{what.replace(' ', '_')}s{later}", (Sym(who),))


def statement(c: English, d: Discourse) -> Effect:
    """Someone has, gets, loses or gives away some."""
    if c.end == "?":
        c.fail("begins a question")
    reader = Quantities(c, d)
    c.accept(*_THEN)
    who = reader.owner()
    c.accept("then", "now", "later", "also")
    reader.event(who)
    while c.accept(", and then", "and then", ", and", "and", ", then"):
        if c.token.text[:1].isupper() or c.word in ("he", "she"):
            who = reader.owner()
        reader.event(who)
    c.finish()

    def effect() -> None:
        d.memory["quantities"], d.memory["amounts"] = reader.count, reader.known
        for spelling in reader.spelling.values():
            d.name(spelling)
        d.say(c.text(), *reader.axioms)

    return effect


def question(c: English, d: Discourse) -> Effect:
    """How many ... does ... have?"""
    if not _versions(d):
        c.fail("asks for an amount, and the text gives none", "say who has how many first")
    reader = Quantities(c, d)
    term = reader.question()
    c.finish()
    return lambda: d.queries.append(Query("value", c.text(), term=term))
