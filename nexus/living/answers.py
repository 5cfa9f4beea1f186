"""What the living service says: a text, or a polite refusal, with all that stands behind it.

The one idea: every channel (a checked proof, what was taught, the language model) answers in this one form, so that the
server, the terminal and the dashboard show it the same way.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Channel = Literal["proof", "memory", "model", ""]  # in the order in which they are asked; "" if none answered


@dataclass(frozen=True, kw_only=True)
class Citation:
    """The exact span of a taught text that an answer rests on.

    Attributes:
        fact: number of the fact in the journal.
        source: what the user said it is from; may be empty.
        start, end: of the span, in characters of the fact's text; ``quote == text[start:end]``.
        quote: the span itself.
    """

    fact: int
    source: str
    start: int
    end: int
    quote: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer or a refusal.

    Attributes:
        text: what is said; of a refusal, one polite sentence that names what fell short and what would help.
        answered: False for a refusal.
        id: names it for feedback; empty until it was given out.
        channel: which one answered; for a refusal, the last one that was asked.
        reason: of a refusal, for machines and people; empty if answered.
        score, threshold: of the channel's gate, where it has one; larger is surer.
        certificate: id of the certificate that lets this channel answer; empty if none does.
        citations: the spans that the answer rests on.
        proof: the checked proof as plain values, or None.
        memory: version of the journal that was read.
    """

    text: str
    answered: bool
    channel: Channel
    reason: str = ""
    score: float | None = None
    threshold: float | None = None
    certificate: str = ""
    citations: tuple[Citation, ...] = ()
    proof: dict[str, Any] | None = None
    memory: int = 0
    id: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Everything but the text, as plain values for JSON: the extension field of a reply."""
        values = asdict(self)
        del values["text"]
        return values
