"""The channels that check what they say: proofs, and quotations of what was taught.

The one idea: a channel answers or says nothing (None), and then the next one is asked. What it says stands on something
that was checked for this one answer: a proof that an independent checker accepted, or the exact span of a taught text.
"""

from __future__ import annotations

import json
from typing import Protocol

from nexus.living.answers import Answer, Citation
from nexus.living.journal import Journal
from nexus.living.recall import MARGIN, Recall
from nexus.reasoning import NotUnderstood, Reasoner

SECONDS = 2.0  # for a proof: who waits longer would rather have another channel
LETTERS = 4_000  # of a text that is read for a proof: reading is not under the limit of time


class Retriever(Protocol):
    """Whatever answers for an owner out of something that was checked; `nexus.living.retriever` is one, too."""

    def ask(self, owner: str, question: str) -> Answer | None:
        """The answer, or None where there is nothing to say."""


class Proofs:
    """Answers what follows from the question's own text, with the proof.

    Not answered are text that is long or outside of the reasoner's grammar, what the checker did not accept, and bare
    questions of which nothing is given, for which "unknown" would be true and useless.

    Args:
        seconds: what one proof may take.

    Raises:
        ImportError: the extra ``reasoning`` is not installed.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        import_solvers()
        self._reasoner = Reasoner(seconds=seconds)

    def ask(self, owner: str, question: str) -> Answer | None:
        """The proved answer, or None; the same for every owner."""
        if len(question) > LETTERS:
            return None
        try:
            found = self._reasoner.ask(question)
        except NotUnderstood:
            return None
        content = json.loads(found.to_json())
        if not found.proved or (found.verdict == "unknown" and not content["axioms"]):
            return None
        return Answer(text=found.text, answered=True, channel="proof", proof=content)


class Quotations:
    """Answers with the sentence that was taught, found by its words.

    Args:
        journal: where it was taught.
        margin: the least score of an answer.
    """

    def __init__(self, journal: Journal, margin: float = MARGIN) -> None:
        self._journal, self._margin = journal, margin

    def ask(self, owner: str, question: str) -> Answer | None:
        """The best sentence with its place, or None if none reaches the margin."""
        found = Recall(self._journal.facts(owner), self._margin).ask(question)
        if found is None:
            return None
        span = Citation(fact=found.fact, source=found.source, start=found.start, end=found.end, quote=found.text)
        return Answer(
            text=found.text,
            answered=True,
            channel="memory",
            score=found.score,
            threshold=self._margin,
            citations=(span,),
            memory=self._journal.version(),
        )


def import_solvers() -> None:
    """Import what every proof needs.

    Raises:
        ImportError: the extra ``reasoning`` is not installed.
    """
    from nexus.reasoning.extras import needs

    with needs("python-sat"):
        import pysat.solvers  # noqa: F401
    with needs("z3-solver"):
        import z3  # noqa: F401
