"""Read a question: whom it mentions, which relations lead from there to the answer, and what kind of answer it wants.

The one idea: a question is a path. "Where does Ada's sister live?" starts at Ada, goes to her sister, and from there to
where she lives; each step is a set of relation names, matched by nexus.living.retriever against what was taught. Only
names that were taught can be mentioned: the caller passes a test for that, so another name never stands in for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nexus.living.reading import VERBS, Key, inflected, numeric
from nexus.living.relations import KINDS, TIMED, Sense, senses
from nexus.living.words import (
    ARTICLES,
    ASKING,
    BE,
    DO,
    HAVE,
    MINE,
    MODAL,
    PERSONS,
    POSSESSIVE,
    PREPOSITIONS,
    SMALL,
    Word,
    key,
    words,
)  # fmt: skip

Wanted = Literal["time", "place", "person", "number", ""]
_ADJECTIVES = frozenset(("allergic", "famous", "set"))  # they lead on like verbs: "Ada's sister is allergic to"
_PLAIN_WORDS = "who what whom where when is are was were tell me about do does you know please remember the a an at on"
_PLAIN = frozenset(_PLAIN_WORDS.split())
UNKNOWN = "\0"  # a relation that nothing is told by
LESS_USUAL = 0.97
MAX_NAME = 7  # words in a row that are looked up as a name
_PLACES = frozenset(["where", "city", "town", "country", "place", "village"])
_TIMES = frozenset(["when", "year", "day", "date", "time", "month", "hour"])
_LEAD = re.compile(
    r"^\W*(?:(?:please|hey|hi|so|and),? )*(?:(?:can|could|would|will|do) you )?(?:please )?"
    r"(?:tell|remind|know|remember|say|name)(?: me)?(?: please)?,? (?=\w)",
    re.IGNORECASE,
)
_POLITE = re.compile(  # what comes before the question itself
    r"^\W*(?:(?:please|hey|hi|hello|so|and|well|ok|okay|sorry|excuse me),? )*"
    r"(?:(?:(?:can|could|would|will|do|did|may|might) (?:you|i|we|anyone|anybody) )?"
    r"(?:please |kindly |happen to |maybe |perhaps )*(?:tell|remind|know|remember|recall|say|ask|explain)"
    r"(?: to)?(?: me| us| you)?(?: please| again)?"
    r"|(?:do you )?(?:have )?(?:any|an) idea"
    r"|i(?:'d| would)? ?(?:like|want|need|wish|love)? ?(?:to )?(?:know|wonder|hear)"
    r"|i(?: am|'m| was) (?:wondering|curious)(?: about)?),? "
    rf"(?=(?:{'|'.join((*sorted(ASKING), *sorted(PREPOSITIONS)))})\b)",
    re.IGNORECASE,
)
_PEOPLE = frozenset(["person", "man", "woman", "boy", "girl"])
_BREAKS = BE | DO | HAVE | MODAL | PREPOSITIONS | ASKING | {"and", "or", "that"}


@dataclass(frozen=True)
class Step:
    """One relation to follow.

    Attributes:
        relation: what it is called.
        names: words of it that are names or numbers.
        masked: the question up to here, with "someone" for whom it is about.
        key: the thing itself, where "someone's thing" may be known by that name.
        nouns: those of the relations that are called by a noun of the table.
    """

    relation: frozenset[str]
    names: frozenset[str]
    masked: str
    key: Key
    nouns: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Query:
    """One way to understand a question.

    ``turned``: what is mentioned is the value of the (one) step, and its subject is asked for. ``whole``: the question
    as one step, however it is built. ``weight``: below 1 for the less usual of two ways.
    """

    mention: Key
    steps: tuple[Step, ...]
    turned: bool
    wanted: Wanted
    polar: bool
    whole: Step
    weight: float = 1.0


def queries(question: str, known: Callable[[Key], bool]) -> list[Query]:
    """Every way to understand a question, longest names first."""
    question = _POLITE.sub("", question)
    found = words(question)
    return [
        replace(_query(question, found, (first, last), groups, used), weight=weight)
        for first, last in _mentions(found, known)
        for groups, used, weight in _orders(found, first, last)
    ]


def _mentions(found: Sequence[Word], known: Callable[[Key], bool]) -> Iterator[tuple[int, int]]:
    for size in range(MAX_NAME, 0, -1):
        for a in range(len(found) - size + 1):
            first = found[a]
            if first.norm in ARTICLES or first.norm == POSSESSIVE or (size == 1 and _no_name(first)):
                continue
            if found[a + size - 1].norm in ARTICLES:
                continue
            if (size == 1 and (first.norm in MINE or first.norm in PERSONS)) or known(key(found[a : a + size])):
                yield a, a + size


def _no_name(word: Word) -> bool:
    return word.norm in SMALL and not word.named and word.norm not in MINE and word.norm not in PERSONS


def _wanted(found: Sequence[Word]) -> Wanted:
    norms = [word.norm for word in found]
    if "how" in norms and norms[norms.index("how") + 1 :][:1] in (["many"], ["much"], ["old"]):
        return "number"
    at = next((n for n, norm in enumerate(norms) if norm in ASKING), None)
    if at is None:
        return ""
    kind = _kind(found[at + 1 :]) if norms[at] in ("what", "which") else ""
    if norms[at] == "where" or kind in _PLACES:
        return "place"
    if norms[at] == "when" or kind in _TIMES:
        return "time"
    return "person" if norms[at] in ("who", "whom", "whose") or kind in _PEOPLE else ""


def _kind(found: Sequence[Word]) -> str:
    """The noun after "what", "which" and "what is the"; a compound is of another kind: a time zone is no time."""
    at = next((n for n, word in enumerate(found) if word.norm not in ARTICLES | BE), len(found))
    follows = found[at + 1 : at + 2]
    compound = bool(follows) and follows[0].norm not in SMALL and not follows[0].named
    return "" if at == len(found) or (compound and found[at].norm in _TIMES) else found[at].norm


def _orders(found: Sequence[Word], first: int, last: int) -> Iterator[tuple[list[list[int]], set[int], float]]:
    """What leads away from a name: "the sister of Ada's boss" goes to the boss first, "the author of Dune's job" to
    the author; the first is more usual."""
    used, size, name = set(range(first, last)), last - first, key(found[first:last])
    for at in range(len(found) - size + 1):  # named again: "Who helps Ada when Ada is ill?"
        if key(found[at : at + size]) == name:
            used.update(range(at, at + size))
    after, before = list(_after(found, first, last, used)), list(_before(found, first, used))
    yield after + before, used, 1.0
    if after and before:
        yield before + after, used, LESS_USUAL


def _query(
    question: str, found: list[Word], name: tuple[int, int], groups: list[list[int]], used: set[int]
) -> Query:  # fmt: skip
    wanted, rest = _wanted(found), [n for n in range(len(found)) if n not in used]
    left = [found[n] for n in rest]
    polar = _polar(found, name[0]) and not _openly(
        found, [found[n] for n in range(len(found)) if not name[0] <= n < name[1]]
    )
    meant = senses(left, "verb")
    final = _relation(left, meant, wanted, _passive(found))
    steps: list[Step] = []
    start, end = found[name[0]].start, found[name[1] - 1].end
    for group in groups:
        names = [found[n] for n in group]
        relation = _relation(names, senses(names), "" if final - KINDS or group is not groups[-1] else wanted)
        if relation:
            steps.append(Step(relation, _names(names), f"someone's {_words(names)}", key(names), _nouns(names)))
            start, end = min(start, names[0].start), max(end, names[-1].end)
    if final - KINDS or not steps:
        again = question[found[name[0]].start : found[name[1] - 1].end]
        masked = _masked(f"{question[:start]}someone{question[end:]}", again)
        steps.append(Step(final - KINDS or final or _bare(left, wanted), _names(left), masked, (), _nouns(left)))
    steps = [step for step in steps if step.relation - KINDS] or steps[-1:]
    turned = len(steps) == 1 and _is_turned(found, rest, meant, name[0])
    return Query(key(found[slice(*name)]), tuple(steps), turned, wanted, polar, _whole(question, found, name, wanted))


def _whole(question: str, found: list[Word], name: tuple[int, int], wanted: Wanted) -> Step:
    """All that is asked of the one who is mentioned, in one step."""
    mention = key(found[slice(*name)])
    left = [word for n, word in enumerate(found) if not name[0] <= n < name[1] and word.norm not in mention]
    relation = _relation(left, senses(left, "verb"), wanted, _passive(found))
    first = name[0]
    if first and found[first - 1].norm in ARTICLES:  # "The Hobbit" is "someone" with its article
        first -= 1
    start, end = found[first].start, found[name[1] - 1].end
    someone = "someone's" if found[first].norm in MINE and name[1] - first == 1 else "someone"
    text = _masked(f"{question[:start]}{someone}{question[end:]}", question[found[name[0]].start : end])
    return Step(relation - KINDS, _names(left), _LEAD.sub("", text).strip(), (), _nouns(left))


def _nouns(found: Sequence[Word]) -> frozenset[str]:
    return frozenset(sense.relation for sense in senses(found) if sense.known and sense.kind == "noun")


def _polar(found: Sequence[Word], mention: int) -> bool:
    """Whether yes or no is asked; "Can you tell me" and "Can I have" only ask politely."""
    polite = len(found) > 1 and found[1].norm in PERSONS and mention != 1
    return found[0].norm in BE | DO | HAVE | MODAL and not polite


def _openly(found: Sequence[Word], rest: Sequence[Word]) -> bool:
    """Whether a question for yes or no asks for nothing of its own, so that what is known answers it: "Does Ada have a
    sister?"; "Is Ada a doctor?" is none."""
    known = [sense for sense in senses(rest, "verb") if sense.relation not in KINDS]
    told = all(sense.known for sense in known) and bool(known)
    there = found[0].norm not in BE or found[1].norm == "there"
    return told and not _names(rest) and (there or all(sense.kind != "noun" for sense in known))


def _after(found: Sequence[Word], first: int, last: int, used: set[int]) -> Iterator[list[int]]:
    """What the one who is mentioned has: "Ada's boss's phone" gives boss, phone."""
    at = last
    while at < len(found) and (found[at].norm == POSSESSIVE or (at == last and found[first].norm in MINE)):
        at += found[at].norm == POSSESSIVE
        begin = at
        at += next((sense.last for sense in senses(found[begin:]) if sense.first == 0 and sense.known), 0)
        while at < len(found) and not _ends(found, begin, at):
            at += 1
        if at == begin:
            return
        used.update(range(begin - 1, at))
        yield list(range(begin, at))


def _before(found: Sequence[Word], first: int, used: set[int]) -> Iterator[list[int]]:
    """Of whom the one who is mentioned is: "the phone of the boss of Ada" gives boss, phone."""
    at = first - 1
    while True:
        while at >= 0 and found[at].norm in ARTICLES:
            at -= 1
        if at < 1 or found[at].norm != "of":
            return
        end = at
        while at > 0 and not _parts(found, at - 1, end):
            at -= 1
        if at == end:
            return
        used.update(range(at, end + 1))
        yield list(range(at, end))
        at -= 1


def _parts(found: Sequence[Word], at: int, end: int) -> bool:
    """Whether a word is none of the noun that ends there; "or" joins two of them: "the husband or wife of Ada"."""
    if found[at].norm == "or" and at and at + 1 < end:
        return _parts(found, at - 1, end)
    return found[at].norm in _BREAKS | ARTICLES | {POSSESSIVE} or _verb(found, at, end)


def _ends(found: Sequence[Word], begin: int, at: int) -> bool:
    return found[at].norm in _BREAKS | {POSSESSIVE} or (at > begin and _verb(found, at, len(found)))


def _verb(found: Sequence[Word], at: int, end: int) -> bool:
    word = found[at]
    if word.named or (at and found[at - 1].norm in ARTICLES | {POSSESSIVE}):
        return False
    helped = any(other.norm in DO | MODAL for other in found[:at])
    return word.norm in _ADJECTIVES or (word.stem in VERBS and (helped or (inflected(word) and at + 1 <= end)))


def _relation(found: Sequence[Word], meant: Sequence[Sense], wanted: Wanted, passive: bool = False) -> frozenset[str]:
    made = set()
    for sense in meant:
        relation = sense.relation
        if sense.kind == "turned" and passive:  # "When was it written?" does not ask by whom
            relation = TIMED.get(relation, found[sense.first].stem)
        elif relation in TIMED and wanted == "time":
            relation = TIMED[relation]
        made.add(relation)
    return frozenset(made)


def _bare(left: Sequence[Word], wanted: Wanted) -> frozenset[str]:
    """What is asked with no relation: where it is, when it is, what it is; "How is it?" is none of them."""
    if any(word.norm not in _PLAIN for word in left):
        return frozenset((UNKNOWN,))
    return frozenset({"place": ("location",), "time": ("time",)}.get(wanted, ()))


def _passive(found: Sequence[Word]) -> bool:
    return any(word.norm in BE for word in found) and not any(word.norm == "by" for word in found)


def _is_turned(found: Sequence[Word], rest: Sequence[int], meant: Sequence[Sense], first: int) -> bool:
    """Whether the question gives the value and asks for the subject."""
    norms = [word.norm for word in found]
    if "whose" in norms or any(
        norms[n] == "of" and norms[n + 1] in ("which", "what", "whom") for n in range(len(norms) - 1)
    ):
        return True
    if any(n > 1 and norm == POSSESSIVE and norms[n - 2] in ("which", "what") for n, norm in enumerate(norms)):
        return True
    verb = next((sense for sense in meant if sense.kind != "noun" or sense.relation in VERBS), None)
    if verb is None:
        return False
    before = rest[verb.first] < first
    if found[rest[verb.last - 1]].norm == "by":
        return before
    helped = any(norm in DO | MODAL | BE for norm in norms[:first])
    if verb.kind != "turned":
        return before and not helped
    by = norms.index("by") if "by" in norms else None
    if any(norm in BE for norm in norms) and inflected(found[rest[verb.first]]):
        return by is not None and rest[verb.first] < by < first
    return not before


def _names(found: Sequence[Word]) -> frozenset[str]:
    known = {word.start for sense in senses(found) if sense.known for word in found[sense.first : sense.last]}
    named = (word for word in found if word.norm not in SMALL | PERSONS.keys() | {"one"} and word.start)
    return frozenset(word.stem for word in named if (word.named and word.start not in known) or numeric(word))


def _masked(question: str, name: str) -> str:
    """The question with "someone" wherever the name stands as a word of its own."""
    return re.sub(rf"\b{re.escape(name)}\b", "someone", question)


def _words(found: Sequence[Word]) -> str:
    return " ".join(word.text for word in found)
