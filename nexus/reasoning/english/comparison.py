"""Comparisons of individuals: taller, older, faster ... as linear inequalities.

Ann is taller than Bob. Bob is as tall as Carl. Dora is 3 cm taller than Ann. Bob is 150 cm tall. Who is the tallest?
"""

from __future__ import annotations

from fractions import Fraction

from nexus.reasoning.english.text import Discourse, Effect, English, Query
from nexus.reasoning.formulas import Compare, Formula, Fun, Num, Sym, Term, conjunction

# quantity: (adjective, comparative, superlative) upwards and downwards
SCALES = {
    "height": (("tall", "taller", "tallest"), ("short", "shorter", "shortest")),
    "age": (("old", "older", "oldest"), ("young", "younger", "youngest")),
    "weight": (("heavy", "heavier", "heaviest"), ("light", "lighter", "lightest")),
    "speed": (("fast", "faster", "fastest"), ("slow", "slower", "slowest")),
    "size": (("big", "bigger", "biggest"), ("small", "smaller", "smallest")),
    "wealth": (("rich", "richer", "richest"), ("poor", "poorer", "poorest")),
    "strength": (("strong", "stronger", "strongest"), ("weak", "weaker", "weakest")),
}
_PLAIN, _MORE, _MOST = (
    {forms[n]: (scale, sign) for scale, pair in SCALES.items() for forms, sign in zip(pair, (1, -1), strict=True)}
    for n in range(3)
)
_UNITS = ("cm", "m", "meters", "inches", "years", "kg", "kilograms", "pounds", "km/h", "months", "centimeters")


def _individual(c: English) -> str:
    c.accept("the")
    if c.done or not (c.token.text[:1].isupper() or c.stream[c.position - 1].text.lower() == "the"):
        c.fail("is no name", "begin names with a capital letter")
    return c.open_word("name").lower()


def _measure(scale: str, who: str) -> Fun:
    return Fun(scale, (Sym(who),))


Compared = tuple[Formula, str, list[str]]  # the formula, its scale, the individuals


def comparison(c: English, d: Discourse) -> Compared:
    """One comparison, from its subject on."""
    first = _individual(c)
    c.need("is")
    return _measured(c, d, first)


def _measured(c: English, d: Discourse, first: str) -> Compared:
    """The rest of a comparison; measures of one scale have one unit throughout a text."""
    units: list[str] = []
    made = _rest(c, first, units)
    known = d.memory.setdefault("units", {})
    assert isinstance(known, dict)
    for unit in units:
        if known.setdefault(made[1], unit) != unit:
            c.position -= 1
            c.fail(f"ends a measure in {unit or 'no unit'} after one in {known[made[1]] or 'no unit'}", "use one unit")
    return made


def _rest(c: English, first: str, units: list[str]) -> Compared:
    negative = c.accept("not")
    if c.accept("as"):
        scale, _ = _look(c, _PLAIN)
        c.need("as")
        second = _individual(c)
        return (
            Compare("!=" if negative else "=", _measure(scale, first), _measure(scale, second)),
            scale,
            [first, second],
        )
    amount = c.number()
    unit = c.word
    if amount is not None:
        units.append(unit if c.accept(*_UNITS) else "")
    if amount is not None and c.word in _PLAIN:
        scale, sign = _look(c, _PLAIN)
        if sign < 0:
            c.position -= 1
            c.fail("gives no measure", "say how tall, old, heavy, fast or big")
        return Compare("!=" if negative else "=", _measure(scale, first), Num(Fraction(amount))), scale, [first]
    scale, sign = _look(c, _MORE)
    c.need("than")
    second = _individual(c)
    left, right = (first, second) if sign > 0 else (second, first)
    if amount is not None:
        far: Term = Fun("+", (_measure(scale, right), Num(Fraction(amount))))
        return Compare("!=" if negative else "=", _measure(scale, left), far), scale, [first, second]
    op = "<=" if negative else ">"
    return Compare(op, _measure(scale, left), _measure(scale, right)), scale, [first, second]


def _look(c: English, table: dict[str, tuple[str, int]]) -> tuple[str, int]:
    if c.word not in table:
        c.fail("is no comparison that is known", f"use one of {', '.join(list(table)[:8])} ...")
    return table[c.take().text.lower()]


def _seen(d: Discourse, scale: str) -> list[str]:
    groups = d.memory.setdefault("compared", {})
    assert isinstance(groups, dict)
    return groups.setdefault(scale, [])


def statement(c: English, d: Discourse) -> Effect:
    """A comparison that is stated."""
    if c.end == "?":
        c.fail("begins a question")
    formulas, scales, names = [], [], []
    while True:
        formula, scale, who = comparison(c, d)
        formulas.append(formula)
        scales.append(scale)
        names += who
        if not c.accept(", and", "and", ","):
            break
    c.finish()

    def effect() -> None:
        d.say(c.text(), *formulas)
        for name in names:
            d.name(name.capitalize())
            for scale in scales:
                if name not in _seen(d, scale):
                    _seen(d, scale).append(name)

    return effect


def question(c: English, d: Discourse) -> Effect:
    """Is A taller than B?  Who is the tallest?  How tall is A?"""
    words = c.text()
    if c.accept("who is", "which one is"):
        query = _superlative(c, d, words)
    elif c.accept("how"):
        scale, _ = _look(c, _PLAIN)
        c.need("is")
        query = Query("value", words, term=_measure(scale, _individual(c)))
    else:
        asked = c.accept("true or false :", "is it true that", "does it follow that")
        if not asked:
            c.need("is")
            query = Query("decide", words, formula=_measured(c, d, _individual(c))[0])
        else:
            query = Query("decide", words, formula=comparison(c, d)[0])
    c.finish()
    return lambda: d.queries.append(query)


def _superlative(c: English, d: Discourse, words: str) -> Query:
    c.need("the")
    scale, sign = _look(c, _MOST)
    names = _seen(d, scale)
    if len(names) < 2:
        c.fail(f"asks about {scale}, which nothing has been said about", "compare at least two individuals first")
    op = ">" if sign > 0 else "<"
    candidates = {
        name.capitalize(): conjunction(
            Compare(op, _measure(scale, name), _measure(scale, other)) for other in names if other != name
        )
        for name in names
    }
    return Query("which", words, candidates=candidates)
