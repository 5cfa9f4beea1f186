"""What `nexus memory ACTION` prints; one function for each action."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from nexus.living.journal import Event, Journal


def teach(journal: Journal, owner: str, text: str, source: str = "") -> str:
    """Learn a text; the answer comes after the commit."""
    return f"learnt as {journal.teach(owner, text, source)}"


def correct(journal: Journal, owner: str, fact: int, text: str) -> str:
    """Put a text in another's place."""
    return f"corrected: {fact} is now {journal.correct(owner, fact, text)}"


def ask(journal: Journal, owner: str, text: str, margin: float) -> str:
    """Answer from memory, with the source."""
    from nexus.living.recall import Recall

    found = Recall(journal.facts(owner), margin).ask(text)
    if found is None:
        return "I was not taught this; teach me, or ask in the words that were taught."
    source = f" of {found.source}" if found.source else ""
    return f"{found.text}\n  [{found.fact}: letters {found.start} to {found.end}{source}, score {found.score:.2f}]"


def forget(journal: Journal, owner: str, fact: int) -> str:
    """Erase a text."""
    return f"forgotten: {fact} (event {journal.forget(owner, fact)})"


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


def _line(event: Event, holds: bool) -> str:
    at = datetime.fromtimestamp(event.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    said = (
        "(forgotten)" if event.payload is None else ", ".join(f"{k}: {v}" for k, v in event.payload.items() if v != "")
    )
    return f"{'*' if holds else ' '} {event.seq:>5}  {at}  {event.kind:<8}  {said}"
