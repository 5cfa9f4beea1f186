"""Read a plain English sentence: whom it is about, which relation it states, and the characters of what it says.

The one idea: a statement is three places in the text and nothing that is not in it. What is understood: "S's R is V",
"the R of S is V", "V is S's R", "S has an R called V", "S has N Rs", "S is V", "S is in V", "S verbs V" and their joins
with "and"; it, he, she and they stand for the subject of the sentence before. Questions, denials and conditions are not
read as statements. Sentences that are not understood can still be found by their words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nexus.living.relations import KINDS, PHRASES, TIMED, Sense, phrase_at, senses
from nexus.living.tails import ended
from nexus.living.words import (
    ARTICLES,
    BE,
    DO,
    HAVE,
    MINE,
    MODAL,
    POSSESSIVE,
    PREPOSITIONS,
    SMALL,
    Word,
    content,
    irregular,
    key,
    stem,
    words,
)

Key = tuple[str, ...]
MAX_SUBJECT = 9  # words; what is longer is no name
_LEADS = (
    "remember that|remember|note that|please remember that|please remember|please note that|by the way|actually|also|"
    "fyi|well|so|now|correction|update|from now on|today|currently|you should know that|know that|it is true that"
)
_LEAD = [tuple(lead.split()) for lead in sorted(_LEADS.split("|"), key=len, reverse=True)]
_NOT_READ_WORDS = "not never no nobody nothing if unless whether maybe perhaps would might could neither"
_NOT_READ = frozenset(_NOT_READ_WORDS.split())
_PRONOUNS = frozenset(("it", "he", "she", "they"))
_OWNED = {"its", "his", "her", "their"}
_ADVERBS_WORDS = "first originally also still now usually often officially recently mostly mainly just"
_ADVERBS = frozenset(_ADVERBS_WORDS.split())
_WHO = frozenset(("who", "which", "that"))
_CALLED = frozenset(("called", "named"))
_NUMBER_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion half"
)
NUMBERS = frozenset(_NUMBER_WORDS.split())
_TIMES_WORDS = (
    "january february march april may june july august september october november december monday tuesday "
    "wednesday thursday friday saturday sunday noon midnight morning afternoon evening night today tomorrow "
    "yesterday o'clock am pm weekend week month year spring summer autumn winter easter christmas daily never "
    "always"
)
_TIMES = frozenset(_TIMES_WORDS.split())
_VERB_STEMS = (
    "like love hate enjoy want need know speak study learn read drive ride visit collect cook grow keep feed "
    "wear drink eat use play sell buy rent serve offer contain hold include border cross flow lie stand begin "
    "end start stop win lose join leave meet call marry help prefer fear repair fix invent discover break carry "
    "build plan organise organize host expect cost weigh measure last take run teach sing paint draw compose "
    "direct design produce make manufacture open close shut live reside dwell work own lead manage supervise "
    "found write publish appear die mean charge support train treat dance swim climb bring send give"
)
VERBS = frozenset(stem(word) for word in _VERB_STEMS.split()) | frozenset(
    phrase[0] for phrase, kinds in PHRASES.items() if kinds.keys() != {"noun"} and phrase[0] != "head"
)
_END = re.compile(r"\s*(?:;|, ?(?:which|who|but|because|so|where|and)\b|\b(?:because|but|although|which|who)\b)")


@dataclass(frozen=True)
class Statement:
    """What one sentence says of one subject.

    Attributes:
        subject: whom it is about, as a key for looking up.
        relation: names of relations (see :mod:`nexus.living.relations`); empty for "is" and "has".
        said: what else the sentence says, as relation names and stems; a question may ask with it.
        subject_at, value_at: characters of both.
        start, end: of the text that states it.
        topic: what "it" stands for in the sentence that follows.
        mentioned: the sentence is about something else, see :mod:`nexus.living.mentions`.
    """

    subject: Key
    relation: frozenset[str]
    said: frozenset[str]
    subject_at: tuple[int, int]
    value_at: tuple[int, int]
    start: int
    end: int
    topic: Key = ()
    mentioned: bool = False


def read(text: str, start: int, end: int, before: Statement | None = None) -> list[Statement]:
    """The statements of the sentence [start:end]; `before` is what "it" stands for."""
    found = _without_lead(words(text, start, end))
    if len(found) < 3 or text[end - 1] == "?" or any(denies(word) for word in found):
        return []
    if found[0].norm in _PRONOUNS | _OWNED and before is not None:
        stated = _clause(text, _stand_in(found, before), (start, end))
        return [
            replace(one, subject=_named(one.subject, before), topic=_named(one.topic, before), start=before.start)
            for one in stated
        ]
    return [] if found[0].norm in _PRONOUNS | _OWNED else _clause(text, found, (start, end))


def timed(text: str) -> bool:
    """Whether a text says when, or a number."""
    return any(word.norm in _TIMES or numeric(word) for word in words(text))


def only_timed(text: str) -> bool:
    """Whether a text says when, or a number, and nothing else."""
    return all(word.norm in _TIMES or numeric(word) for word in content(words(text)))


def numeric(word: Word) -> bool:
    """Whether a word is a number, in digits or letters."""
    return word.text[0].isdigit() or word.norm in NUMBERS or word.norm.split("-")[0] in NUMBERS


def finite(found: Sequence[Word], at: int) -> bool:
    """Whether the word is a verb of the sentence rather than part of a name."""
    word, last = found[at], found[at - 1]
    if word.text[0].isupper() or last.norm in ("a", "an", "the", POSSESSIVE, *MINE):
        return False
    if word.stem not in VERBS:  # any word with a verb's ending, right after a name
        named = all(one.named for one in found[:at]) and (word.norm in DO or word.norm not in SMALL | _ADVERBS)
        follows = found[at + 1] if at + 1 < len(found) and found[at + 1].start == word.end + 1 else None
        return named and inflected(word) and follows is not None and follows.norm not in BE | HAVE | MODAL
    plural = found[0].norm in ("i", "we", "you", "they") or (last.norm.endswith("s") and not last.norm.endswith("ss"))
    after = found[at + 1].norm if at + 1 < len(found) else ""
    return inflected(word) or (plural and after not in BE | HAVE | MODAL)


def inflected(word: Word) -> bool:
    """Whether a verb has an ending, or an irregular form."""
    return word.norm.endswith(("s", "ed")) or irregular(word.norm)


def relation_of(found: Sequence[Word]) -> frozenset[str]:
    """The relation that a noun phrase names."""
    return frozenset(sense.relation for sense in senses(found))


def name_of(found: Sequence[Word]) -> Key:
    """The key of a noun phrase; "the sister of Ada" is "Ada's sister"."""
    split = owned(found)
    if split is None:
        return key(found)
    owner, thing = split
    if {word.stem for word in thing if word.norm not in ARTICLES} <= KINDS:  # "the story of Dune" is Dune
        return name_of(owner)
    return (*name_of(owner), POSSESSIVE, *key(thing))


def owned(found: Sequence[Word]) -> tuple[Sequence[Word], Sequence[Word]] | None:
    """Owner and thing of "S's R", "my R" and "the R of S"."""
    of = next((at for at, word in enumerate(found) if word.norm == "of" and at), None)
    mark = max((at for at, word in enumerate(found) if word.norm == POSSESSIVE), default=None)
    if of is not None and of + 1 < len(found) and (mark is None or of < mark):
        return found[of + 1 :], found[:of]
    if mark is not None and 0 < mark < len(found) - 1:
        return found[:mark], found[mark + 1 :]
    if found and found[0].norm in MINE and len(found) > 1:
        return found[:1], found[1:]
    return None


def _without_lead(found: list[Word]) -> list[Word]:
    for lead in _LEAD:
        if tuple(word.norm for word in found[: len(lead)]) == lead:
            return _without_lead(found[len(lead) :])
    return found


def denies(word: Word) -> bool:
    """Whether a word makes a sentence say that something is not, or may not be."""
    return word.norm in _NOT_READ or word.norm.endswith("n't")


def _stand_in(found: list[Word], before: Statement) -> list[Word]:
    """The words with a name in the place of "it" and "its", so that the rest reads them like any other."""
    first = found[0]
    it = replace(first, norm="\0", stem="\0")
    if first.norm in _OWNED:
        return [it, replace(first, norm=POSSESSIVE, stem=POSSESSIVE), *found[1:]]
    return [it, *found[1:]]


def _named(subject: Key, before: Statement) -> Key:
    return tuple(part for name in subject for part in (before.topic if name == "\0" else (name,)))


def _clause(text: str, found: Sequence[Word], quote: tuple[int, int]) -> list[Statement]:
    at = next((n for n in range(1, len(found)) if found[n].norm in BE | HAVE | MODAL or finite(found, n)), None)
    if at is None or at > MAX_SUBJECT or any(word.norm == "that" for word in found[:at]):
        return []
    subject, rest = found[:at], list(found[at + 1 :])
    while len(rest) > 1 and rest[0].norm in _ADVERBS:
        rest.pop(0)
    join = next((n for n in range(1, len(rest) - 1) if rest[n].norm == "and" and _goes_on(rest, n + 1)), None)
    more = _clause(text, [*subject, *rest[join + 1 :]], quote) if join is not None else []
    rest = rest[:join]
    clause: list[Statement] = []
    who = next((n for n in range(1, len(rest) - 2) if rest[n].norm in _WHO and _goes_on(rest, n + 1)), None)
    if who is not None and found[at].norm in BE:  # "Ada is a nurse who lives in Oslo"
        clause = _clause(text, [*subject, *rest[who + 1 :]], quote)
    if found[at].norm in MODAL and rest:
        made = _acts(text, subject, rest, quote)
    elif found[at].norm in BE:
        made = _is(text, subject, rest, quote)
    elif found[at].norm in HAVE:
        made = _has(text, subject, rest, quote)
    else:
        made = _acts(text, subject, [found[at], *rest], quote)
    return [*clause, *(replace(one, topic=_topic(text, subject, found[at], one)) for one in made), *more]


def _topic(text: str, subject: Sequence[Word], verb: Word, stated: Statement) -> Key:
    """The one the sentence begins with; after "Ada's sister is Bea" that is Bea."""
    value = words(text, *stated.value_at)
    same = verb.norm in BE and owned(subject) is not None and all(word.named for word in value)
    return name_of(value if same else subject)


def _goes_on(rest: Sequence[Word], at: int) -> bool:
    return rest[at].norm in BE | HAVE | DO or (finite(rest, at) and inflected(rest[at]))


def _is(text: str, subject: Sequence[Word], rest: list[Word], quote: tuple[int, int]) -> list[Statement]:
    """Sentences with "is": "S's R is V", "V is S's R", "S is born in V", "S is in V", "S is V"."""
    if not rest:
        return []
    phrase = phrase_at(rest, 0)
    if phrase is not None and phrase.kind == "turned":  # "was written in 1965" does not say by whom
        phrase = replace(phrase, relation=TIMED.get(phrase.relation, rest[0].stem), kind="verb")
        phrase = replace(phrase, last=2) if len(rest) > 2 and rest[1].norm in PREPOSITIONS else phrase
    if phrase is not None and phrase.last < len(rest):
        return _told(text, subject, phrase, rest[phrase.last :], quote)
    split = owned(subject)
    if split is not None:
        owner, thing = split
        if relation_of(thing) == {"nam"} and owned(owner) is not None:  # "my dog's name is" says what "my dog is" does
            owner, thing = owned(owner) or split
        value = rest[1:] if rest[0].norm in (*_CALLED, "in", "on", "at") and len(rest) > 1 else rest
        return [_made(text, name_of(owner), owner, relation_of(thing), value, quote)]
    return _plainly(text, subject, rest, quote)


def _plainly(text: str, subject: Sequence[Word], rest: list[Word], quote: tuple[int, int]) -> list[Statement]:
    whole = _made(text, name_of(subject), subject, frozenset(), rest, quote)
    split = owned(rest)
    if split is not None:
        owner, thing = split
        turned = _made(text, name_of(_trimmed(text, owner)), owner, relation_of(thing), subject, quote)
        return [turned, replace(whole, said=frozenset())]
    first = rest[0]
    if first.norm in _CALLED and len(rest) > 1:
        return [_made(text, name_of(subject), subject, frozenset(("nam",)), rest[1:], quote)]
    if first.norm in PREPOSITIONS and len(rest) > 1:
        where = "time" if timed(_text(text, rest[1:])) else "location"
        return [_made(text, name_of(subject), subject, frozenset((where,)), rest[1:], quote)]
    if first.stem in VERBS and inflected(first) and len(rest) > 1:
        return _acts(text, subject, rest, quote)
    return [whole]


def _has(text: str, subject: Sequence[Word], rest: list[Word], quote: tuple[int, int]) -> list[Statement]:
    """Sentences with "has": "S has an R called V", "S has N Rs", "S has V"."""
    called = next((n for n, word in enumerate(rest) if word.norm in _CALLED and 0 < n < len(rest) - 1), None)
    if called is not None:
        return [_made(text, name_of(subject), subject, relation_of(rest[:called]), rest[called + 1 :], quote)]
    if len(rest) > 1 and numeric(rest[0]):
        return [_made(text, name_of(subject), subject, relation_of(rest[1:]), rest[:1], quote)]
    return [_made(text, name_of(subject), subject, frozenset(), rest, quote)] if rest else []


def _acts(text: str, subject: Sequence[Word], rest: list[Word], quote: tuple[int, int]) -> list[Statement]:
    """Sentences with another verb; if it is turned, about its object."""
    phrase = phrase_at(rest, 0)
    if phrase is None:
        phrase = Sense(rest[0].stem, "verb", 0, 1, False)
        if len(rest) > 2 and rest[1].norm in PREPOSITIONS:
            phrase = replace(phrase, last=2)
    return _told(text, subject, phrase, rest[phrase.last :], quote) if phrase.last < len(rest) else []


def _told(
    text: str, subject: Sequence[Word], phrase: Sense, value: list[Word], quote: tuple[int, int]
) -> list[Statement]:
    relation = phrase.relation
    if relation in TIMED and only_timed(_text(text, value)):
        relation = TIMED[relation]
    if phrase.kind == "turned":
        about = _trimmed(text, value)
        return [_made(text, name_of(about), about, frozenset((relation,)), subject, quote)]
    return [_made(text, name_of(subject), subject, frozenset((relation,)), value, quote)]


def _made(
    text: str, subject: Key, about: Sequence[Word], relation: frozenset[str], value: Sequence[Word],
    quote: tuple[int, int],
) -> Statement:  # fmt: skip
    value = _trimmed(text, value)
    said = relation_of(value) | {word.stem for word in content(value)}
    return Statement(subject, relation, said, (about[0].start, about[-1].end), (value[0].start, value[-1].end), *quote)


def _trimmed(text: str, found: Sequence[Word]) -> Sequence[Word]:
    """The words up to a clause that begins after them."""
    stop = _END.search(text, found[0].end, found[-1].end)
    kept = [word for word in found if stop is None or word.end <= stop.start()]
    whole = kept or found
    shorter = ended(text, whole)
    return whole if any(word.named or numeric(word) for word in whole[len(shorter) :]) else shorter


def _text(text: str, found: Sequence[Word]) -> str:
    kept = _trimmed(text, found)
    return text[kept[0].start : kept[-1].end]
