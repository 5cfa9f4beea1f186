"""Facts: what holds for an owner, computed from the journal's events and from nothing else.

The one idea: a pure function from events to facts. The table in the journal is a copy of its result, kept because it
is quicker to read; `Journal.verify` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol


class Recorded(Protocol):
    """What is looked at in an event."""

    @property
    def seq(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def payload(self) -> dict[str, Any] | None: ...


@dataclass(frozen=True)
class Fact:
    """A text that was taught; `seq` is the event that brought it, `source` where the owner had it from."""

    seq: int
    text: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)


def project(events: Iterable[Recorded]) -> dict[int, Fact]:
    """The facts that hold after one owner's events, by number, oldest first."""
    known = list(events)
    facts: dict[int, Fact] = {}
    for place, event in enumerate(known):
        if event.kind == "rollback" and event.payload is not None:
            version = event.payload["version"]
            facts = project(earlier for earlier in known[:place] if earlier.seq <= version)
        else:
            facts = fold(facts, event)
    return dict(sorted(facts.items()))


def fold(facts: Mapping[int, Fact], event: Recorded) -> dict[int, Fact]:
    """The facts after one more event (any kind but rollback). Erased payloads bring nothing."""
    after = dict(facts)
    if event.kind in ("correct", "forget") and event.payload is not None:
        after.pop(event.payload["fact"], None)
    if event.kind in ("teach", "correct") and event.payload is not None:
        after[event.seq] = Fact(event.seq, event.payload["text"], event.payload["source"])
    return after


def retained(events: Iterable[Recorded], fact: int) -> set[int]:
    """The events that hold text of a fact: itself, what it corrected, what corrected it, the same text elsewhere."""
    texts = {e.seq: e for e in events if e.kind in ("teach", "correct") and e.payload is not None}
    links = [(e.seq, e.payload["fact"]) for e in texts.values() if e.payload and "fact" in e.payload]
    first: dict[str, int] = {}
    for e in texts.values():
        key = " ".join(e.payload["text"].casefold().split()) if e.payload else ""
        links.append((e.seq, first.setdefault(key, e.seq)))
    found = {fact}
    while more := {seq for link in links if found.intersection(link) for seq in link} - found:
        found |= more
    return found
