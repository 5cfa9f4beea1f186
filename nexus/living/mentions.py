"""What a sentence says of names that it mentions without being about them, as reading.py understands it.

The one idea: "Tom repairs Ada's bicycles" says something of Ada, too. Such a statement has no relation that a question
could name; only meaning decides whether it answers one. Names are words in a row that are written with capitals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nexus.living.reading import Statement, denies, name_of, numeric, timed
from nexus.living.relations import KINDS, NAMED
from nexus.living.words import ARTICLES, POSSESSIVE, PREPOSITIONS, SMALL, Word, key, words

Span = tuple[int, int]
_NOBODY = frozenset(
    ("there", "it", "you", "they", "we", "i", "one", "everyone", "everybody", "nobody", "anyone", "home")
)


def mentioned(text: str, start: int, end: int, stated: Sequence[Statement]) -> list[Statement]:
    """Statements about the names in the sentence [start:end] that `stated` is not about already."""
    found = words(text, start, end)
    if text[end - 1] == "?" or any(denies(word) for word in found):
        return []
    runs, known = list(_runs(text, found)), {one.subject for one in stated}
    known |= {name_of(words(text, *one.value_at)) for one in stated if one.relation <= NAMED and not _does(one)}
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
    if not stated:
        return _unread(text, found, run, runs)
    one = stated[0]
    joined = [other for other in runs if other is not run and _inside(other, one.subject_at)]
    if joined and _inside(run, one.subject_at):  # "Ada and Bea are sisters"
        return joined[-1][0].start, joined[-1][-1].end
    if _inside(run, one.subject_at) or run[0].start < min(one.subject_at[0], one.value_at[0]):
        return one.value_at
    return _other_side(text, run, one, words(text, *one.subject_at), found)


def _other_side(
    text: str, run: list[Word], one: Statement, subject: Sequence[Word], found: Sequence[Word]
) -> Span | None:
    """What is said of a name that stands behind the verb."""
    value = [word for word in found if word.start >= one.value_at[0]]
    head = [word for word in value if word.end <= run[0].start]
    after = [word for word in value if word.start >= run[-1].end and word.end <= max(one.value_at[1], run[-1].end)]
    if not _somebody(subject):
        after = after[1:] if after and after[0].norm in PREPOSITIONS else after
        if after:  # "People know Oslo for its soup", "You find Ada in Rome"
            return after[0].start, after[-1].end
        if subject[0].norm in _NOBODY and any(map(numeric, head)):  # "There are 900 people in Oslo"
            first = next(word for word in head if numeric(word))
            return first.start, first.end
    if head and head[-1].norm in PREPOSITIONS and any(word.named for word in head) and one.subject_at < one.value_at:
        return (head[0].start, head[-2].end) if len(head) > 1 and not _somebody(subject) else one.subject_at
    said = one.relation or len(value) > len(run) + 1  # "Red is the colour Ada loves", but not "The winner is Ada"
    return one.subject_at if said else None


def _somebody(subject: Sequence[Word]) -> bool:
    """Whether a name is spoken of, and not people in general."""
    named = [word for word in subject if word.named and word.norm.split("'")[0] not in _NOBODY | SMALL]
    return len(named) > 1 or (len(named) == 1 and not (named[0].norm.endswith("s") or named[0].stem in KINDS))


def _unread(text: str, found: Sequence[Word], run: list[Word], runs: list[list[Word]]) -> Span | None:
    others = [other for other in runs if other is not run]
    if others:
        return others[-1][0].start, others[-1][-1].end
    last = max((n for n, word in enumerate(found) if word.norm in PREPOSITIONS | {"is", "are", "was"}), default=None)
    if last is not None and last < len(found) - 1 and found[last + 1].start > run[-1].start:
        return found[last + 1].start, found[-1].end
    return (found[-1].start, found[-1].end) if numeric(found[-1]) and found[-1].start > run[-1].end else None


def _does(one: Statement) -> bool:
    """Whether the value does something to the subject: "Ada won the race" says something of Ada, too."""
    return bool(one.relation) and one.value_at < one.subject_at and one.start == one.value_at[0]


def _inside(run: Sequence[Word], at: Span) -> bool:
    return at[0] <= run[0].start and run[-1].end <= at[1]
