"""Puzzles of places: houses in a row, books on a shelf, runners in a race.

    There are 3 houses in a row. Each person has a different name: Ann, Bob, Carl. Each has a different drink: tea,
    milk, water. Ann lives directly left of the person who drinks tea. Bob is in the first house. Who drinks milk?

The one idea: every listed value has a place, a whole number from 1 to n; values of one list have different places.
Words around the values must come from a closed list, so that a clue with an unknown twist is refused.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

from nexus.reasoning.english.text import Discourse, Effect, English, Query
from nexus.reasoning.english.words import NUMBERS, ORDINALS, singular
from nexus.reasoning.formulas import Compare, Formula, Fun, Num, Or, Sym, negation

_NEUTRAL_WORDS = """
the a an person man woman one who that which whose lives live living in of with has have owns own drinks drink
drinking likes like loves love eats eat eating keeps keep keeping plays play uses use using smokes smoke drives
drive wears wear is are house drinker lover keeper owner fan user player favorite favourite named called person's
pet pets animal animals name color colour flower flowers lunch vase smoothie book books runner runners stands stand
sits sit finished finish finishes standing enthusiast smoker as partial to hobby works work job occupation nationality
cigar cigars bouquet phone model birthday only arrangement boquet style month height hair car cars genre music sport
vacation vacations prefers prefer box
"""
_NEUTRAL = frozenset(_NEUTRAL_WORDS.split())
_RELATIONS = [  # longest first; how the place of the first compares to the second's
    ("next", "are next to each other", "are adjacent", "are neighbours", "are neighbors", "are side by side"),
    (
        "left1",
        "directly left of",
        "immediately left of",
        "directly to the left of",
        "immediately to the left of",
        "just left of",
        "one place before",
        "immediately before",
        "directly before",
        "just before",
        "directly in front of",
    ),
    (
        "right1",
        "directly right of",
        "immediately right of",
        "directly to the right of",
        "immediately to the right of",
        "just right of",
        "immediately after",
        "directly after",
        "just after",
        "directly behind",
    ),
    (
        "left",
        "somewhere to the left of",
        "somewhere left of",
        "to the left of",
        "left of",
        "somewhere before",
        "before",
        "ahead of",
        "in front of",
    ),
    (
        "right",
        "somewhere to the right of",
        "somewhere right of",
        "to the right of",
        "right of",
        "somewhere after",
        "after",
        "behind",
    ),
    ("next", "next to", "beside", "adjacent to"),
    ("same", "in the same house as"),
]


_DEMONYMS = {"british": "brit", "danish": "dane", "swedish": "swede", "norwegian": "norwegian", "spanish": "spaniard"}


def _words(c: English) -> list[str]:
    """The words of a clue, with "the mother of Bella" and "child is named Bella" brought to "child bella"."""
    words = [_DEMONYMS.get(t.text.lower(), t.text.lower()) for t in c.stream]
    for phrase in (["child", "is", "named"], ["mother", "of"]):
        for start in range(len(words) - len(phrase), -1, -1):
            if words[start : start + len(phrase)] == phrase:
                words[start : start + len(phrase)] = ["child"]
    return words


class Board:
    """The places, and the lists of values that stand on them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lists: list[tuple[set[str], list[tuple[str, ...]]]] = []  # words before the colon, values as words

    def values(self) -> list[tuple[str, ...]]:
        return [v for _, several in self.lists for v in several]


def place(value: tuple[str, ...]) -> Fun:
    """The unknown place of a value."""
    return Fun("place", (Sym("_".join(value).replace("-", "_")),))


def spelled(value: tuple[str, ...]) -> str:
    """A value as a text."""
    return " ".join(value)


def _board(c: English, d: Discourse) -> Board:
    board = d.memory.get("board")
    if not isinstance(board, Board):
        c.fail("is about places, and none have been set up", "begin: There are 5 houses in a row.")
    return board


# ---- setting up -----------------------------------------------------------------------------------------------------


def header(c: English, d: Discourse) -> Effect:
    """There are 5 houses in a row (numbered 1 to 5 from left to right). There are 5 runners in a race: Ann, ..."""
    c.accept("on a shelf ,", "in a race ,")
    c.need("there are")
    count = c.number()
    if count is None or not 1 < int(count) <= 12:
        c.fail("is no number of places", "give a whole number from 2 to 12")
    label = c.open_word("kind of place")
    c.accept("in a row", "in a line", "in a race", "on a shelf", "in a queue", "on a branch", "standing in a line")
    c.accept(",")
    if c.accept("numbered 1 to", "numbered from 1 to"):
        c.number()
        c.accept("from left to right")
    elif c.accept("( numbered 1 on the left ,"):
        c.number()
        c.need("on the right )")
        c.accept(", from the perspective of someone standing across the street from them")
    board = Board(int(count))
    values = _values(c, board.size) if c.accept(":") else None
    c.finish()

    def effect() -> None:
        d.memory["board"] = board
        if values is not None:
            _add_list(d, board, {singular(label), "name"}, values, c.text())

    return effect


def _values(c: English, size: int) -> list[tuple[str, ...]]:
    values: list[tuple[str, ...]] = [()]
    while not c.done:
        if c.accept(", and", ",", "and"):
            values.append(())
        elif c.word in ("a", "an", "the") and not values[-1]:
            c.take()
        else:
            values[-1] = (*values[-1], c.take().text.lower())
    c.unfinished = len(values) <= size
    if len(values) != size or not all(values):
        c.position -= 1
        c.fail(f"ends a list of {len(values)} values for {size} places", f"list {size} values, parted by commas")
    endings = {v[-1] for v in values}
    if (
        all(len(v) > 1 for v in values) and len(endings) == 1
    ):  # "red book, green book": the noun is no part of the value
        values = [v[:-1] for v in values]
    if len(set(values)) != size:
        c.fail("ends a list with a value twice", "give each value once")
    return values


def values(c: English, d: Discourse) -> Effect:
    """Each person has a different drink: tea, milk, water."""
    board = _board(c, d)
    words = []
    while not c.done and c.word != ":":
        words.append(c.take().text.lower())
    c.need(":")
    found = _values(c, board.size)
    if {"child", "children"} & set(words):  # children and persons may share names
        found = [("child", *value) for value in found]
    taken = set(board.values()) & set(found)
    if taken:
        c.fail(f"ends a list with {spelled(min(taken))!r}, which another list has too", "give it another name")
    return lambda: _add_list(d, board, {singular(w) for w in words} | set(words), found, c.text())


def _add_list(d: Discourse, board: Board, label: set[str], found: list[tuple[str, ...]], source: str) -> None:
    board.lists.append((label, found))
    for value in found:
        d.ranges[place(value)] = (1, board.size)
        d.names["_".join(value)] = spelled(value)
    d.say(source, *(Compare("!=", place(a), place(b)) for a, b in itertools.combinations(found, 2)))


_FILLERS = (
    "this is a logic puzzle",
    "each has a different person in them",
    "they have different characteristics :",
    "they have different characteristics",
    "a different person lives in each house",
    "provide only the name of the person as your final answer",
    "each house has a different person in it",
    "there are no ties",
)


def filler(c: English, d: Discourse) -> Effect:
    """Sentences that say what is so anyway."""
    c.need(*_FILLERS)
    c.finish()
    return lambda: None


# ---- clues ----------------------------------------------------------------------------------------------------------


def _find(words: list[str], board: Board) -> list[tuple[int, int, tuple[str, ...]]]:
    """Where values stand among the words: start, end, value; longer ones first, without overlap."""
    found: list[tuple[int, int, tuple[str, ...]]] = []
    for value in sorted(board.values(), key=len, reverse=True):
        for start in range(len(words) - len(value) + 1):
            end = start + len(value)
            if tuple(words[start:end]) == value and not any(s < end and start < e for s, e, _ in found):
                found.append((start, end, value))
    return sorted(found)


def _only_neutral(c: English, words: list[str], base: int, board: Board, allowed: frozenset[str]) -> None:
    labels = {w for label, _ in board.lists for w in label if len(w) > 1} - {"not", "no", "never"}
    for offset, word in enumerate(words):
        if (
            word
            and word not in _NEUTRAL
            and word not in allowed
            and word not in labels
            and singular(word) not in labels
        ):
            c.position = base + offset
            c.furthest = max(c.furthest, c.position)
            c.fail(
                "is no part of a clue that is understood",
                "say it with left of, right of, next to, in house 3, is, is not",
            )


def _one(c: English, words: list[str], base: int, board: Board) -> Fun:
    """The place of the single value that a noun phrase names."""
    found = _find(words, board)
    if len(found) != 1:
        c.position = base
        c.fail(f"begins a phrase that names {len(found)} of the listed values", "name exactly one of them")
    start, end, value = found[0]
    _only_neutral(c, [*words[:start], *[""] * (end - start), *words[end:]], base, board, frozenset())
    return place(value)


def clue(c: English, d: Discourse) -> Effect:
    """One clue about where values stand."""
    board = _board(c, d)
    if c.end == "?":
        c.fail("begins a question")
    words = _words(c)
    c.unfinished = _clue_words(board) >= set(words)
    formula = (
        _between(c, words, board) or _relation(c, words, board) or _position(c, words, board) or _same(c, words, board)
    )
    c.position = len(c.stream)
    return lambda: d.say(c.text(), formula)


def _clue_words(board: Board) -> set[str]:
    """All words that a clue may be made of."""
    known = {
        "there",
        "is",
        "are",
        "not",
        "does",
        "between",
        "and",
        "house",
        "houses",
        "in",
        "the",
        "first",
        "one",
        "two",
    }
    known |= {w for _, *phrases in _RELATIONS for p in phrases for w in p.split()} | _NEUTRAL | set(ORDINALS)
    return known | {w for value in board.values() for w in value} | {"last", "middle", "leftmost", "rightmost", "from"}


def _between(c: English, words: list[str], board: Board) -> Formula | None:
    if words[:2] not in (["there", "is"], ["there", "are"]) or "between" not in words:
        return None
    c.position = 2
    gap = c.number()
    if gap is None or not c.accept("house", "houses", "person", "people", "book", "books", "place", "places"):
        c.fail("is no number of places", "write: there is one house between A and B")
    c.need("between")
    if "and" not in words[c.position :]:
        c.fail("begins a phrase without 'and'", "write: between A and B")
    middle = len(words) - 1 - words[::-1].index("and")
    first = _one(c, words[c.position : middle], c.position, board)
    second = _one(c, words[middle + 1 :], middle + 1, board)
    return _apart(first, second, int(gap) + 1)


def _apart(first: Fun, second: Fun, distance: int) -> Formula:
    far = Num(Fraction(distance))
    return Or((Compare("=", Fun("+", (first, far)), second), Compare("=", Fun("+", (second, far)), first)))


def _relation(c: English, words: list[str], board: Board) -> Formula | None:
    for kind, *phrases in _RELATIONS:
        for phrase in phrases:
            parts = phrase.split()
            for start in range(1, len(words) - len(parts) + 1):
                if words[start : start + len(parts)] == parts:
                    return _related(c, words, start, start + len(parts), kind, board)
    return None


def _related(c: English, words: list[str], start: int, end: int, kind: str, board: Board) -> Formula:
    left = words[:start]
    negative = _negated(c, left, board)
    if end == len(words) and "and" in left:  # A and B are next to each other
        middle = left.index("and")
        first, second = _one(c, left[:middle], 0, board), _one(c, left[middle + 1 :], middle + 1, board)
    else:
        trimmed = [w for w in left if w not in ("not", "does")]
        first, second = _one(c, trimmed, 0, board), _one(c, words[end:], end, board)
    one = Num(Fraction(1))
    kinds: dict[str, Formula] = {
        "left1": Compare("=", Fun("+", (first, one)), second),
        "right1": Compare("=", Fun("+", (second, one)), first),
        "left": Compare("<", first, second),
        "right": Compare(">", first, second),
        "next": _apart(first, second, 1),
        "same": Compare("=", first, second),
    }
    return negation(kinds[kind]) if negative else kinds[kind]


def _spot(words: list[str], board: Board) -> tuple[int, tuple[int, ...], str] | None:
    """A place at the end of the words: where the phrase begins, which places it means, and how."""
    size = board.size
    ends = {"first": 1, "leftmost": 1, "last": size, "rightmost": size} | ORDINALS
    if size % 2:
        ends["middle"] = size // 2 + 1
    tail = words
    from_right = tail[-3:] == ["from", "the", "right"]
    from_left = tail[-3:] == ["from", "the", "left"]
    if from_left or from_right:
        tail = tail[:-3]
    if tail[-5:] == ["at", "one", "of", "the", "ends"]:
        return len(tail) - 5, (1, size), ""
    if len(tail) > 1 and tail[-2] in ("house", "position", "place") and (tail[-1].isdigit() or tail[-1] in NUMBERS):
        value = int(tail[-1]) if tail[-1].isdigit() else NUMBERS[tail[-1]]
        return len(tail) - 2, (value,), ""
    start = len(tail)
    if tail and tail[-1] in ("house", "place", "position", "one", "book", "spot"):
        start -= 1
    if start and tail[start - 1] in ends:
        value = ends[tail[start - 1]]
        return start - 1, (size + 1 - value if from_right else value,), ""
    return None


def _negated(c: English, words: list[str], board: Board) -> bool:
    """Whether "not" stands behind the value; before it, it would be about who the value is."""
    places = [i for i, w in enumerate(words) if w in ("not", "doesn't")]
    found = _find(words, board)
    if len(places) > 1 or (places and not (found and found[0][1] <= places[0])):
        c.position = places[0]
        c.fail("is not understood at this place", "say what is not so about one of the values")
    return bool(places)


def _position(c: English, words: list[str], board: Board) -> Formula | None:
    found = _spot(words, board)
    if found is None:
        return None
    start, places, _ = found
    if not all(1 <= p <= board.size for p in places):
        c.position = start
        c.fail(f"is no place from 1 to {board.size}", "correct the number")
    before = words[:start]
    while before and before[-1] in ("the", "in", "at"):
        before = before[:-1]
    negative = _negated(c, before, board)
    subject = _one(c, [w for w in before if w not in ("not", "does")], 0, board)
    options = tuple(Compare("=", subject, Num(Fraction(p))) for p in places)
    formula: Formula = options[0] if len(options) == 1 else Or(options)
    return negation(formula) if negative else formula


def _same(c: English, words: list[str], board: Board) -> Formula:
    """The Norwegian drinks tea. Ann is not the cat lover."""
    found = _find(words, board)
    if len(found) != 2:
        c.position = 0
        c.fail(f"begins a clue that names {len(found)} of the listed values", "name two, or one and a place")
    blank = list(words)
    for start, end, _ in found:
        blank[start:end] = [""] * (end - start)
    _only_neutral(c, blank, 0, board, frozenset(("not", "does", "doesn't")))
    linked = blank[found[0][1] : found[1][0]]
    if not any(w in _NEUTRAL and w not in ("the", "a", "an", "and", "of") for w in linked):
        c.position = found[0][1]
        c.fail("does not link the two values", "use is, drinks, owns ...")
    negative = _negated(c, words[: found[1][0]], board)
    if {"not", "doesn't"} & set(blank[found[1][1] :]):
        c.position = found[1][1]
        c.fail("begins a negation that can be read in two ways", "say it in two sentences")
    return Compare("!=" if negative else "=", place(found[0][2]), place(found[1][2]))


# ---- questions ------------------------------------------------------------------------------------------------------


def question(c: English, d: Discourse) -> Effect:
    """Who owns the zebra?  Which drink does Ann have?  In which house does Bob live?  Who finished first?"""
    board = _board(c, d)
    if not board.lists:
        c.fail("asks about values, and none have been listed")
    words = [t.text.lower() for t in c.stream]
    c.accept("question :")
    c.accept("in", "at")
    start = c.position
    if c.accept("who"):
        several: list[tuple[str, ...]] | None = board.lists[0][1]
        rest = c.position
    elif c.accept("which", "what"):
        several, rest = _asked(c, words, board)
    else:
        c.fail("begins no question that is understood", "ask Who ...? Which ...? In which house ...?")
    target = words[rest:]
    spot = _spot(target, board)
    if several is None:
        where: list[tuple[str, Formula]] = []
        subject = _one(c, [w for w in target if w not in ("does", "do", "did")], rest, board)
        where = [(str(n), Compare("=", subject, Num(Fraction(n)))) for n in range(1, board.size + 1)]
        query = Query("which", c.text(), candidates=dict(where))
    elif spot is not None and len(spot[1]) == 1:
        _only_neutral(c, target[: spot[0]], rest, board, frozenset(("does", "at")))
        where = [(spelled(v), Compare("=", place(v), Num(Fraction(spot[1][0])))) for v in several]
        query = Query("which", c.text(), candidates=dict(where))
    else:
        subject = _one(c, [w for w in target if w not in ("does", "do", "did")], rest, board)
        query = Query("which", c.text(), candidates={spelled(v): Compare("=", place(v), subject) for v in several})
    c.position = max(len(words), start)
    return lambda: d.queries.append(query)


def _asked(c: English, words: list[str], board: Board) -> tuple[list[tuple[str, ...]] | None, int]:
    """The list that is asked for, None for the places, and where the rest of the question begins."""
    c.accept("is the", "is")
    if c.word in ("house", "place", "position"):
        c.take()
        return None, c.position
    found = next((several for label, several in board.lists if singular(c.word) in label), None)
    if found is None:
        c.fail("is no list that was given", "ask for one of the lists, or for the house")
    c.take()
    c.accept("of the", "of")
    return found, c.position
