"""The text of an answer as it comes, and when it ends.

The one idea: what might be the beginning of a stop text is held back until it is known not to be one, so a client
never sees a part of it.
"""

from collections.abc import Collection, Sequence

from nexus.inference.text import Detokenizer, TextTokenizer


class Ending:
    """Turns ids into pieces of text until the answer is at its end.

    Args:
        eos_ids: ids that end an answer and are no part of it.
        stop: texts that end an answer and are no part of it.
        most: number of ids at which it is cut off.

    Attributes:
        reason: ``stop`` or ``length`` once the answer has ended, else None.
        said, shown: characters that the ids so far stand for, and how many of them were given out.
    """

    def __init__(self, tokenizer: TextTokenizer, eos_ids: Collection[int], stop: Sequence[str], most: int) -> None:
        self._text, self._eos, self._stop, self._most = Detokenizer(tokenizer), frozenset(eos_ids), tuple(stop), most
        self._held, self._count = "", 0
        self.said = self.shown = 0
        self.reason: str | None = None

    def feed(self, token: int, last: bool = False) -> str:
        """The text that may be shown after this id; all that is left of it if ``reason`` says that it has ended.

        ``last`` says that the answer is complete with this id.
        """
        self._count += 1
        ended = last or self.is_end(token)
        self._hold("" if self.is_end(token) else self._text.feed(token))
        if ended or self._count >= self._most:
            self._hold(self._text.finish())
        if self._cut():
            return self._take(len(self._held), "stop")
        if ended or self._count >= self._most:
            return self._take(len(self._held), "stop" if ended else "length")
        return self._take(len(self._held) - self._doubtful(), None)

    def is_end(self, token: int) -> bool:
        """Whether an id ends the answer and is no part of it."""
        return token in self._eos

    def _hold(self, text: str) -> None:
        self._held += text
        self.said += len(text)

    def _cut(self) -> bool:
        """Cut off the first stop text and what follows it."""
        places = [place for stop in self._stop if (place := self._held.find(stop)) >= 0]
        if places:
            self._held = self._held[: min(places)]
        return bool(places)

    def _doubtful(self) -> int:
        """Length of the longest end of the text that a stop text begins with."""
        longest = min(max(map(len, self._stop), default=0) - 1, len(self._held))
        ends = (n for n in range(longest, 0, -1) if any(stop.startswith(self._held[-n:]) for stop in self._stop))
        return next(ends, 0)

    def _take(self, length: int, reason: str | None) -> str:
        piece, self._held, self.reason = self._held[:length], self._held[length:], reason
        self.shown += length
        return piece
