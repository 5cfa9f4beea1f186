"""What a sentence says of names that it mentions without being about them, as reading.py understands it.

The one idea: "Tom repairs Ada's bicycles" says something of Ada, too. Such a statement has no relation that a question
could name; only meaning decides whether it answers one. Names are words in a row that are written with capitals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nexus.living.reading import Statement, denies, name_of, numeric, timed
from nexus.living.relations import NAMED
from nexus.living.words import ARTICLES, POSSESSIVE, PREPOSITIONS, SMALL, Word, key, words

Span = tuple[int, int]


def mentioned(text: str, start: int, end: int, stated: Sequence[Statement]) -> list[Statement]:
    """Statements about the names in the sentence [start:end] that `stated` is not about already."""
    found = words(text, start, end)
    if text[end - 1] == "?" or any(denies(word) for word in found):
        return []
    runs, known = list(_runs(text, found)), {one.subject for one in stated}
    known |= {name_of(words(text, *one.value_at)) for one in stated if one.relation <= NAMED}
    made = []
    for run in runs:
        if key(run) not in known:
            value = _value(text, found, run, runs, stated)
            if value is not None:
                at = run[0].start, run[-1].end
                made.append(Statement(key(run), frozenset(), frozenset(), at, value, start, end, mentioned=True))
    return made


def _runs(text: str, found: Sequence[Word]) -> Iterator[list[Word]]:
    """Names: words in a row with capitals; no numbers, times, or single words that begin the sentence."""
    run: list[Word] = []
    for word in [*found, None]:
        if word is not None and word.named and word.norm != POSSESSIVE:
            run.append(word)
            continue
        while run and (run[0].norm in SMALL and run[0].norm not in ARTICLES):
            run = run[1:]
        content = [one for one in run if one.norm not in ARTICLES]
        first = len(content) == 1 and content[0] is found[0] and not (word and word.norm in (POSSESSIVE, "and"))
        if content and not first and not all(numeric(one) or timed(one.text) for one in content):
            yield run
        run = []


def _value(
    text: str, found: Sequence[Word], run: list[Word], runs: list[list[Word]], stated: Sequence[Statement]
) -> Span | None:
    """What is said of a name: the other side of the statement, or, unread, the last thing besides it."""
    if stated:
        one = stated[0]
        if not _inside(run, one.value_at):
            return one.value_at
        after = words(text, run[-1].end, one.value_at[1])
        if len(after) > 1 and after[0].norm in PREPOSITIONS:  # "people know Oslo for its soup"
            return after[1].start, after[-1].end
        return one.subject_at if one.relation else None  # "is" and "has" say nothing of their other side
    others = [other for other in runs if other is not run]
    if others:
        return others[-1][0].start, others[-1][-1].end
    last = max((n for n, word in enumerate(found) if word.norm in PREPOSITIONS | {"is", "are", "was"}), default=None)
    if last is None or last == len(found) - 1 or found[last + 1].start <= run[-1].start:
        return None
    return found[last + 1].start, found[-1].end


def _inside(run: Sequence[Word], at: Span) -> bool:
    return at[0] <= run[0].start and run[-1].end <= at[1]
