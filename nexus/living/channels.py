"""The channels that check what they say: what such a channel is, and proofs; `nexus.living.retriever` quotes.

The one idea: a channel answers or says nothing (None), and then the next one is asked. What it says stands on something
that was checked for this one answer: a proof that an independent checker accepted, or the exact span of a taught text.
"""

from __future__ import annotations

import json
from typing import Protocol

from nexus.living.answers import Answer
from nexus.reasoning import NotUnderstood, Reasoner

SECONDS = 2.0  # for a proof: who waits longer would rather have another channel
LETTERS = 4_000  # of a text that is read for a proof: reading is not under the limit of time


class Retriever(Protocol):
    """Whatever answers for an owner out of something that was checked; `nexus.living.retriever` is one."""

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
