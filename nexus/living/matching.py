"""How well a statement answers a step of a question: by the names of relations, or, where those fail, by meaning.

The one idea: meaning is always compared with rivals. A question in words that nobody listed may go with the taught
relation that it is nearest to, but only if it is nearer to it than to every relation that was not taught: so "Who
brought Ada up?" may find a parent, and "Who is Ada's mother?" never finds her father.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from nexus.living.asking import Query, Step
from nexus.living.embedder import Embedder, Floats
from nexus.living.passages import Entry, Passage
from nexus.living.reading import Statement, only_timed, timed
from nexus.living.relations import KINDS, NAMES, akin, covers
from nexus.living.words import MINE, words

SURE = 0.95  # an agreement by name that needs no second opinion
KEPT = 4096  # phrases whose vectors are kept
LEAST_COSINE = 0.35  # below this nothing means the same
FULL_LEAD = 0.25  # a lead over the rivals that counts as certain
SAME_KIND = 0.45  # the cosine from which a thing may be of the kind that is wanted
WEAK = frozenset(("favourite",))
Openness = Literal["relation", "kind", "nothing"]


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


def openness(query: Query, step: Step, statement: Statement) -> Openness:
    """What is left for meaning to decide.

    "relation": the names say nothing. "kind": all that is told is asked, and the rest says what kind of thing is wanted
    ("Which instrument does she play?"). "nothing": they agree in "favourite" alone, which is no agreement.
    """
    wanted, told = _wanted(query, step), statement.relation
    asked = _asked(wanted, told)
    if told and asked == told:
        return "kind"
    return "nothing" if asked and asked <= WEAK else "relation"


def _wanted(query: Query, step: Step) -> frozenset[str]:
    wanted = step.relation - KINDS or step.relation
    return wanted - step.names if query.polar else wanted


def _asked(wanted: frozenset[str], told: frozenset[str]) -> frozenset[str]:
    return frozenset(tell for tell in told if any(covers(want, tell) for want in wanted))


def holding(entries: Sequence[Entry]) -> list[Entry]:
    """The statements that no newer one replaces: of one subject, one relation, and alike in being a time or not.

    "is" and "has" do not replace each other: one can be many things.
    """
    newest: dict[object, Entry] = {}
    for entry in sorted(entries, key=_age):
        passage, statement = entry
        value = passage.fact.text[slice(*statement.value_at)]
        same = (statement.subject, statement.relation, only_timed(value)) if statement.relation else id(statement)
        newest[same] = entry
    return list(newest.values())


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


def strangers(step: Step, statement: Statement, passage: Passage) -> bool:
    """Whether the step names something that the passage does not."""
    return bool(step.names - {word.stem for word in words(passage.text)})


class Meaning:
    """Compares steps with statements by an embedder, against the relations of the table as rivals."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._rivals: Floats | None = None
        self._kept: dict[str, Floats] = {}

    def agreement(self, step: Step, entries: Sequence[Entry], left: Sequence[Openness]) -> list[float]:
        """For each statement, from 0 (another relation is nearer, or none is near) to 1.

        Args:
            step: what is asked.
            entries: the statements.
            left: what is open for each, see :func:`openness`.
        """
        if not entries:
            return []
        whole = [masked(passage, statement) for passage, statement in entries]
        bare = [masked(passage, statement, bare=True) for passage, statement in entries]
        asked, *told = self._vectors([step.masked, *whole, *bare])
        if self._rivals is None:
            self._rivals = self._embedder([f"someone's {name}" for name in NAMES])
        rivals = dict(zip(NAMES, (self._rivals @ asked).tolist(), strict=True))
        made = []
        for full, short, (_, statement), what in zip(
            told[: len(entries)], told[len(entries) :], entries, left, strict=True
        ):
            cosine, with_relation = float(asked @ full), float(asked @ short)
            near = max(cosine, (cosine + with_relation) / 2)
            rival = {"kind": SAME_KIND, "nothing": 1.0}.get(what) or _others(rivals, statement)
            made.append(_lead(near, rival))
        return made

    def forget(self) -> None:
        """Drop all that was kept of taught texts."""
        self._kept.clear()

    def _vectors(self, texts: Sequence[str]) -> list[Floats]:
        missing = list(dict.fromkeys(text for text in texts if text not in self._kept))
        if len(self._kept) + len(missing) > KEPT:
            self._kept.clear()
            missing = list(dict.fromkeys(texts))
        if missing:
            self._kept.update(zip(missing, self._embedder(missing), strict=True))
        return [self._kept[text] for text in texts]


def masked(passage: Passage, statement: Statement, bare: bool = False) -> str:
    """What is stated, with "someone" for the subject; `bare` leaves out what is said of it."""
    text, places = passage.fact.text, [(statement.subject_at, "someone")]
    if text[slice(*statement.subject_at)].casefold() in MINE:
        places[0] = (statement.subject_at, "someone's")
    if bare:
        places.append((statement.value_at, ""))
    made, at = "", max(statement.start, passage.start)
    for (first, last), instead in sorted(places):
        if first >= at:  # a subject in an earlier sentence has nothing to be left out here
            made, at = f"{made}{text[at:first]}{instead}", last
    return f"{made}{text[at : passage.end]}".strip(" .!")


def _lead(near: float, rival: float) -> float:
    if near < LEAST_COSINE or near <= rival:
        return 0.0
    return min(1.0, 0.5 + (near - rival) / (2 * FULL_LEAD))


def _others(rivals: Mapping[str, float], statement: Statement) -> float:
    """The cosine of the nearest relation that was not told."""
    return max(cosine for name, cosine in rivals.items() if not any(akin(name, one) for one in statement.relation))
