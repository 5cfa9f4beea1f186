"""What `nexus memory ACTION` prints; one function for each action."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from nexus.living.facts import Fact, project
from nexus.living.journal import Event, Journal


def teach(journal: Journal, owner: str, text: str, source: str = "") -> str:
    """Learn a text; the answer comes after the commit."""
    return f"learnt as {journal.teach(owner, text, source)}"


def correct(journal: Journal, owner: str, fact: int, text: str) -> str:
    """Put a text in another's place."""
    return f"corrected: {fact} is now {journal.correct(owner, fact, text)}"


def ask(journal: Journal, owner: str, text: str, margin: float, embedder: str) -> str:
    """Answer from memory, with the places that it rests on."""
    from nexus.data.packages import cache_root
    from nexus.living.embedder import embedder_of
    from nexus.living.retriever import Retriever

    answer = Retriever(journal, embedder_of(embedder), margin, cache_root() / "meaning").ask(owner, text)
    if answer is None:
        return "I was not taught this; teach me, or ask in the words that were taught."
    places = [f"{one.fact}: letters {one.start} to {one.end}" for one in answer.citations]
    return f"{answer.text}\n  [{'; '.join(places)}; score {answer.score:.2f}]"


def forget(journal: Journal, owner: str, fact: int) -> str:
    """Erase a text; says so only when it is gone from the file."""
    return f"forgotten and erased: {fact} (event {journal.forget(owner, fact)})"


def erase(journal: Journal) -> str:
    """Erase what was forgotten while another process was reading.

    Raises:
        ValueError: it still is.
    """
    if not journal.erase():
        raise ValueError("erase: another process is still reading the file. cure: close it, then say this again")
    return "nothing that was forgotten is left in the file"


def feedback(journal: Journal, owner: str, verdict: str, about: str) -> str:
    """Note whether an answer was right."""
    return f"noted: {verdict} (event {journal.feedback(owner, verdict == 'right', about)})"


def facts(journal: Journal, owner: str) -> str:
    """What holds now, a fact a line."""
    held = journal.facts(owner)
    return "\n".join(_fact("", fact) for fact in held) or "nothing yet"


def diff(journal: Journal, owner: str, old: int, new: int | None) -> str:
    """What was taken away and what was added from one version to another (by default the present one).

    What was forgotten since is in neither.

    Raises:
        ValueError: there is no such version.
    """
    last = journal.version()
    new = last if new is None else new
    for version in (old, new):
        if not 0 <= version <= last:
            raise ValueError(f"version: there is no {version}. cure: give a number from 0 to {last}")
    before, after = (project(e for e in journal.events(owner) if e.seq <= version) for version in (old, new))
    lines = [_fact("- ", fact) for seq, fact in before.items() if seq not in after]
    lines += [_fact("+ ", fact) for seq, fact in after.items() if seq not in before]
    return "\n".join(lines) or f"no difference between versions {old} and {new}"


def rollback(journal: Journal, owner: str, version: int) -> str:
    """Go back to the facts of an earlier event."""
    return f"back at version {version} (event {journal.rollback(owner, version)})"


def log(journal: Journal, owner: str) -> str:
    """The owner's history, and what holds now."""
    held = {fact.seq for fact in journal.facts(owner)}
    return "\n".join(_line(event, event.seq in held) for event in journal.events(owner)) or "nothing yet"


def export(journal: Journal, owner: str) -> str:
    """Everything that is held about the owner, as JSON."""
    return json.dumps(journal.export(owner), indent=2, ensure_ascii=False)


def verify(journal: Journal, head: str | None) -> str:
    """Check the whole file."""
    return f"{journal.verify(head)} events, the chain and the facts hold; head {journal.head()}"


def existing(path: str) -> Path:
    """The journal's path, if a file is there.

    Raises:
        FileNotFoundError: there is none.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"--file: there is no journal at {path}. cure: nexus memory teach makes one")
    return Path(path)


def _fact(mark: str, fact: Fact) -> str:
    return f"{mark}{fact.seq:>5}  {fact.text}" + (f"  ({fact.source})" if fact.source else "")


def _line(event: Event, holds: bool) -> str:
    at = datetime.fromtimestamp(event.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    said = (
        "(forgotten)" if event.payload is None else ", ".join(f"{k}: {v}" for k, v in event.payload.items() if v != "")
    )
    return f"{'*' if holds else ' '} {event.seq:>5}  {at}  {event.kind:<8}  {said}"
