"""How well a statement answers a step of a question by the names of relations, and whether it can answer it at all.

The one idea: names decide where they can. "Boss" is told by "manager" and never by "father"; what they leave open is
for nexus/living/meaning.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nexus.living.asking import Query, Step
from nexus.living.passages import Entry, Passage
from nexus.living.reading import Statement, only_timed, owned, relation_of, timed
from nexus.living.relations import KINDS, NAMED, WEAK, akin, covers
from nexus.living.words import words

SURE = 0.95  # an agreement by name that needs no second opinion
KNOWN = NAMED - WEAK  # relations that the table knows
PLACED = frozenset(("in", "at", "on", "near", "under", "behind", "from", "inside", "beside"))


def by_name(query: Query, step: Step, statement: Statement) -> float:
    """Agreement in [0, 1]: the harmonic mean of how much of the question is told and how much that is told is asked."""
    wanted, told = _wanted(query, step), statement.relation
    if not wanted:
        return 0.0 if told else 0.9
    if not told and wanted == {"time"}:  # "The meeting is tomorrow at nine"
        return 0.85
    hit = [any(covers(want, tell) for tell in told) or want in statement.said for want in wanted]
    precision = sum(hit) / len(hit)
    recall = len(_asked(wanted, told)) / len(told) if told else 0.9
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _wanted(query: Query, step: Step) -> frozenset[str]:
    wanted = step.relation - KINDS or step.relation
    return wanted - step.names if query.polar else wanted


def _asked(wanted: frozenset[str], told: frozenset[str]) -> frozenset[str]:
    return frozenset(tell for tell in told if any(covers(want, tell) for want in wanted))


def admits(query: Query, step: Step, passage: Passage, statement: Statement) -> bool:
    """Whether meaning may decide: the kind of answer fits, no name is strange, and it is not said the other way."""
    return (
        fits(replace(query, turned=False), passage, statement)
        and not strangers(step, passage)
        and not _turned_about(query, passage, statement)
        and not _of_another(query, step, passage, statement)
    )


def speaks_of(query: Query, statement: Statement) -> bool:
    """Whether a statement has to do with everything of the table that lies on the way: where Ada lives says nothing of
    where her mother does."""
    known = [name for step in query.steps[:-1] for name in step.nouns if name in KNOWN]
    return all(any(akin(name, one) for one in statement.relation) for name in known)


def leads_on(query: Query, passage: Passage, statement: Statement) -> bool:
    """Whether a statement only says a step of the way: "Tom is Ada's doctor" to "Where was Ada's doctor born?"."""
    return _first_of(query, statement) and any(
        word.text[0].isupper() for word in words(passage.fact.text, *statement.value_at)
    )


def ends_there(query: Query, passage: Passage, statement: Statement) -> bool:
    """Whether there is nowhere to go from what is said: "The staff of Acme is 500" to "How large is Acme's staff?"."""
    return _first_of(query, statement) and only_timed(_value(passage, statement))


def _first_of(query: Query, statement: Statement) -> bool:
    """Whether a statement tells the first of several steps, and not the last."""
    first, *others = query.steps
    last = others[-1].relation - KINDS if others else frozenset()
    told = statement.relation
    if not last or any(akin(want, tell) for want in last for tell in told):
        return False
    return by_name(query, first, statement) >= SURE


def otherwise(step: Step, statement: Statement) -> bool:
    """Whether all that is asked and what is told are relations of the table, and other ones: a sign, as words have
    several senses ("Who started it?")."""
    asked = step.relation - KINDS
    return asked <= KNOWN and _apart(asked, statement)


def contradicts(step: Step, statement: Statement) -> bool:
    """Whether both name relations of the table, and none that may stand for the other: a mother is no father."""
    return _apart(step.nouns & KNOWN, statement)


def _apart(asked: frozenset[str], statement: Statement) -> bool:
    told = statement.relation & KNOWN
    return bool(asked and told) and not any(akin(one, other) for one in asked for other in told)


def _turned_about(query: Query, passage: Passage, statement: Statement) -> bool:
    """Whether the question has the statement's verb the other way round: "Whom does Ada treat?", "Tom treats Ada."."""
    if query.turned or not statement.mentioned or statement.value_at > statement.subject_at:
        return False
    return bool(query.whole.relation & passage.statements[0].relation)


def _of_another(query: Query, step: Step, passage: Passage, statement: Statement) -> bool:
    """Whether it is said whose doctor someone is, and someone's doctor, or somebody else, is asked for."""
    value = owned(words(passage.fact.text, *statement.value_at))
    if value is None or statement.relation:
        return False
    return bool(step.nouns & relation_of(value[1]) or (query.wanted == "person" and step.relation - KINDS))


def holding(entries: Sequence[Entry]) -> list[Entry]:
    """The statements that no newer one replaces: of one subject, one relation, and alike in being a time or not.

    "is" and "has" do not replace each other: one can be many things.
    """
    newest: dict[object, Entry] = {}
    for entry in sorted(entries, key=_age):
        _, one = entry
        same = (one.subject, one.relation, only_timed(_value(*entry))) if one.relation else id(one)
        newest[same] = entry
    return list(newest.values())


def may_restate(one: Entry, other: Entry) -> bool:
    """Whether the second of two statements of a subject may say the same as the first: alike in being a time or not,
    not both by relations of the table, unless by the same ones in other words, and not in passing only."""
    if other[1].mentioned and not one[1].mentioned:
        return False
    timed_alike = only_timed(_value(*one)) == only_timed(_value(*other))
    first, second = one[1].relation, other[1].relation
    named = bool(first and second) and first | second <= NAMED
    return timed_alike and not (named and not any(akin(a, b) for a in first - WEAK for b in second - WEAK))


def _value(passage: Passage, statement: Statement) -> str:
    return passage.fact.text[slice(*statement.value_at)]


def _age(entry: Entry) -> tuple[int, int]:
    return entry[0].fact.seq, entry[0].start


def fits(query: Query, passage: Passage, statement: Statement) -> bool:
    """Whether what is said can be the kind of thing that is asked for."""
    if query.polar:
        return True
    at = statement.subject_at if query.turned else statement.value_at
    value = passage.fact.text[slice(*at)]
    if query.wanted in ("time", "number"):
        return timed(value)
    return query.wanted == "" or not only_timed(value)


def likely(query: Query, passage: Passage, statement: Statement) -> float:
    """How well the kind of what is said goes with the kind of thing that is asked for: from -1 to 1, 0 for no sign."""
    if query.wanted == "":
        return 0.0
    if query.wanted in ("time", "number"):
        return 1.0 if timed(_value(passage, statement)) else -1.0
    if only_timed(_value(passage, statement)):
        return -1.0
    text = passage.fact.text
    value, before = words(text, *statement.value_at), words(text, passage.start, statement.value_at[0])
    placed = value[0].norm in PLACED or (bool(before) and before[-1].norm in PLACED)
    named = any(word.text[0].isupper() for word in value)
    good = placed or named if query.wanted == "place" else named and not placed
    return 1.0 if good else -0.5


def strangers(step: Step, passage: Passage) -> bool:
    """Whether the step names something that the passage does not."""
    return bool(step.names - {word.stem for word in words(passage.text)})
