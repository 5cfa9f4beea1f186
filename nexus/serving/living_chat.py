"""A chat in which every line is a question by itself, and every answer has something that stands behind it.

The one idea: it speaks like a `ChatSession`, so the terminal does not care; but the certificate is for questions that
stand alone, so nothing that was said before is read again.
"""

from collections.abc import Generator

from nexus.inference.release import Release
from nexus.inference.sampling import GREEDY, Sampling
from nexus.living.answers import Answer
from nexus.living.living import Living
from nexus.living.opening import open_living
from nexus.living.own_words import CERTIFIED, Manner


class LivingChat:
    """Questions of one owner to a living service.

    Args:
        living: what answers.
        owner: whose memory is asked.
        manner: how answers are asked for.

    Attributes:
        last: the answer that was given last.
    """

    def __init__(self, living: Living, owner: str, manner: Manner = CERTIFIED) -> None:
        self._living, self._owner, self._manner = living, owner, manner
        self.last: Answer | None = None

    def say(self, text: str) -> Generator[str, None, None]:
        """Ask, and yield the answer once it was decided."""
        self.last = None
        self.last = self._living.ask(self._owner, text, self._manner)
        yield self.last.text

    def feedback(self, right: bool) -> str:
        """Say whether the last answer was right.

        Raises:
            ValueError: there is no answer to speak of.
        """
        if self.last is None or not self.last.answered:
            raise ValueError("there is no answer that could be right or wrong; ask something first")
        still = self._living.feedback(self._owner, self.last.id, right)
        return "noted" if still else "noted; too much was wrong lately, so this channel is closed now"

    def behind(self) -> str:
        """What stands behind the last answer, in a line."""
        answer = self.last
        if answer is None or not answer.answered:
            return ""
        if answer.channel == "proof":
            return "[proved; nexus reason shows the steps]"
        if answer.channel == "memory":
            return f"[you taught me: {'; '.join(_place(answer, i) for i in range(len(answer.citations)))}]"
        needed = f"score {answer.score:.3f}, needed {answer.threshold:.3f}"
        return f"[my own words: {needed}, certificate {answer.certificate}]"


def open_chat(
    release: Release,
    system: str | None,
    sampling: Sampling | None,
    max_new_tokens: int,
    *,
    memory: str,
    step: float | None,
    embedder: str | None,
    owner: str,
) -> LivingChat:
    """A chat over a release; what is asked for in another manner than was certified is refused."""
    manner = Manner(system=system, sampling=sampling or GREEDY, tokens=max_new_tokens)
    living = open_living(release, memory, step, create=False, embedder=embedder, at_once=False)
    return LivingChat(living, owner, manner)


def _place(answer: Answer, i: int) -> str:
    span = answer.citations[i]
    return f"fact {span.fact}, letters {span.start} to {span.end}{f' of {span.source}' if span.source else ''}"
