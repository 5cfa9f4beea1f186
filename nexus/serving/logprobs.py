"""How likely the tokens of an answer were, in OpenAI's two forms.

The one idea: what is told is the model's own distribution, before temperature, limits and grammar, so that it means the
same whatever was asked for. A token is told of when its text is shown, and not at all if a stop text cuts it off.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tokenizers import decoders
from torch import Tensor

from nexus.inference.text import TextTokenizer
from nexus.serving.ending import Ending


@dataclass(frozen=True)
class Scored:
    """A token with its log-probability, and the likeliest tokens in its place with theirs.

    ``start`` is where its text begins in the answer, in characters.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    start: int = 0


def score(logits: Tensor, token: int, top: int, start: int) -> Scored:
    """Score one token by the logits (1, V) that it was chosen from, with the ``top`` likeliest ones beside it."""
    logprobs = logits[0].double().log_softmax(-1)
    values, ids = logprobs.topk(min(top, logprobs.shape[0]))
    return Scored(token, float(logprobs[token]), tuple(zip(ids.tolist(), values.tolist(), strict=True)), start)


class Waiting:
    """Scores in the order of their tokens, each kept back until its text may be shown."""

    def __init__(self) -> None:
        self._kept: deque[tuple[Scored, int]] = deque()

    def put(self, scored: Scored, end: int) -> None:
        """Take in a score; ``end`` is where its text ends in the answer."""
        self._kept.append((scored, end))

    def take(self, ending: Ending) -> tuple[Scored, ...]:
        """Those that may be told of now; all that are part of the answer once it has ended."""
        if ending.reason:
            return tuple(scored for scored, _ in self._kept if scored.start < ending.shown)
        ready = []
        while self._kept and self._kept[0][1] <= ending.shown:
            ready.append(self._kept.popleft()[0])
        return tuple(ready)


class Names:
    """Texts and bytes of single tokens."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._by_letter = _bytes_of_letters() if isinstance(tokenizer.tokenizer.decoder, decoders.ByteLevel) else {}

    def text(self, token: int) -> str:
        """The token's text; bytes that are no whole character become U+FFFD."""
        return self._tokenizer.decode([token], skip_special=False)

    def raw(self, token: int) -> list[int]:
        """The token's bytes; of a part of a character too, where the tokenizer works on bytes."""
        letters = self._tokenizer.tokenizer.id_to_token(token) or ""
        if letters and all(letter in self._by_letter for letter in letters):
            return [self._by_letter[letter] for letter in letters]
        return list(self.text(token).encode())


def chat_form(names: Names, scores: Sequence[Scored]) -> dict[str, Any]:
    """``logprobs`` of a chat's choice."""

    def entry(token: int, logprob: float) -> dict[str, Any]:
        return {"token": names.text(token), "bytes": names.raw(token), "logprob": _finite(logprob)}

    told = [{**entry(s.token, s.logprob), "top_logprobs": [entry(*other) for other in s.top]} for s in scores]
    return {"content": told, "refusal": None}


def completion_form(names: Names, scores: Sequence[Scored]) -> dict[str, Any]:
    """``logprobs`` of a completion's choice."""
    return {
        "tokens": [names.text(s.token) for s in scores],
        "token_logprobs": [_finite(s.logprob) for s in scores],
        "top_logprobs": [{names.text(token): _finite(logprob) for token, logprob in s.top} for s in scores],
        "text_offset": [s.start for s in scores],
    }


def _finite(logprob: float) -> float:
    """JSON has no infinity; this is what OpenAI sends for what can't be."""
    return max(logprob, -9999.0)


@lru_cache(maxsize=1)
def _bytes_of_letters() -> dict[str, int]:
    """What byte each letter of byte-level tokenizers stands for (Radford et al. 2019, GPT-2).

    Printable bytes are written as themselves, the others in order as the characters from 256 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{chr(b): b for b in printable}, **{chr(256 + i): b for i, b in enumerate(others)}}
