"""Answers that follow a grammar: JSON after a schema, calls of functions.

The one idea: at every token the way to the end is known. Ids that the grammar forbids are never drawn (llguidance
computes which), and an id after which the text could no longer end within the tokens that are left is replaced by the
next one of the known way. So an answer is not only never wrong, it is never cut off in the middle either.
Source of the masks: llguidance, https://github.com/guidance-ai/llguidance.
"""

import json
import random
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nexus.inference.release import Release
from nexus.serving.errors import ApiError

LONGEST_WAY = 4_096  # ids of a way to the end that is looked for, before an answer
USUAL_WAY = 512  # the same, at each token; twice the first way if that is more
TRIES = 4  # ways by other choices, where the plain one leads nowhere
CLOSERS = ("}", "]", '"', ",", *reversed("0123456789"))  # what ends things, in order of preference
SHOWN = 300  # characters of what the library says about a schema
# One form of white space: with a choice, small models write spaces for ever.
SPACES = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": False}


class GrammarError(Exception):
    """A grammar became too costly to follow."""


def json_rule(schema: dict[str, Any]) -> str:
    """A JSON schema as a part of a grammar."""
    return f"%json {json.dumps({**schema, 'x-guidance': SPACES})}"


class Grammar:
    """What an answer has to follow.

    Args:
        release: whose tokens the text is made of.
        text: in llguidance's dialect of Lark.
        field: of the request, to be named if the grammar is refused.
        words: whether plain words follow it too.

    Raises:
        ApiError: 400 for a grammar that cannot be followed, 501 if llguidance is not installed.
    """

    def __init__(self, release: Release, text: str, field: str, words: bool = False) -> None:
        self.words = words
        try:
            from llguidance import LLMatcher
        except ImportError:
            message = f"{field}: this server lacks llguidance; pip install 'nexus-ai[serving]'"
            raise ApiError(501, message, field, "not_installed") from None

        self._words, self._field = vocabulary(release), field
        self._matcher = LLMatcher(self._words.tokenizer, LLMatcher.grammar_from_lark(text), log_level=0)
        if self._matcher.is_error():
            said = " ".join(self._matcher.get_error().split())[:SHOWN]
            raise ApiError(400, f"{field}: cannot be followed ({said}); simplify it", field, "invalid_value")
        self._way = self._words.way_out(self._matcher, LONGEST_WAY)

    def check_room(self, tokens: int) -> None:
        """Raise ApiError if no answer is known that is so short."""
        if self._way is not None and len(self._way) > tokens:
            message = f"{self._field}: needs an answer of {len(self._way)} tokens, {tokens} are allowed; allow more"
            raise ApiError(400, message, self._field, "invalid_value")

    def guide(self) -> "Guide":
        """What leads one answer along."""
        return Guide(self._words, self._matcher.deep_copy(), self._way)


class Guide:
    """Leads one answer along a grammar.

    Args:
        words: the tokens.
        matcher: at the beginning of the text; it becomes the guide's own.
        way: ids from there to an end, None if none is known.
    """

    def __init__(self, words: "Vocabulary", matcher: Any, way: list[int] | None) -> None:
        self._words, self._matcher, self._way = words, matcher, way
        self._most = max(USUAL_WAY, 2 * len(way or ()))

    @property
    def done(self) -> bool:
        """Whether the text is complete, and nothing can follow."""
        return bool(self._matcher.is_stopped())

    def limit(self, logits: Tensor) -> Tensor:
        """The logits (1, V) of ids that may come next; of others, minus infinity."""
        allowed = torch.from_numpy(self._words.allowed(self._matcher)).to(logits.device)
        return logits.masked_fill(~allowed, float("-inf"))

    def take(self, token: int, left: int) -> int:
        """Go on by an id that may come next, or by another if it would not leave enough room for an end.

        Args:
            token: what was drawn.
            left: how many ids may follow it.

        Returns:
            The id that was taken.
        """
        if self._way and self._way[0] == token:
            self._way = self._way[1:]
            return self._step(token)
        if not self._way or token in self._words.ends:
            return self._step(token)
        after = self._matcher.deep_copy()
        after.consume_token(token)
        way = self._words.way_out(after, min(left, self._most))
        if way is None:
            token, self._way = self._way[0], self._way[1:]
        else:
            self._way = way
        return self._step(token)

    def _step(self, token: int) -> int:
        if not self._matcher.consume_token(self._words.known(token)):
            raise GrammarError(f"the grammar became too costly to follow ({self._matcher.get_error()[:SHOWN]})")
        return token


class Vocabulary:
    """The tokens of a release, as llguidance needs them.

    Attributes:
        tokenizer: llguidance's own.
        ends: ids that end an answer.
    """

    def __init__(self, release: Release) -> None:
        from llguidance import LLTokenizer

        own, self.size = release.tokenizer.tokenizer, release.model.config.vocab_size
        self.ends = frozenset(release.generation.eos_ids)
        self._end = min(self.ends, default=None)
        self.tokenizer = LLTokenizer(own.to_str(), n_vocab=self.size, eos_token=self._end)
        ids = {text: release.tokenizer.encode(text) for text in CLOSERS}
        closers = {text: found[0] for text, found in ids.items() if len(found) == 1}
        self._closers, self._quote = list(closers.values()), closers.get('"')
        self._brackets = {closers[text] for text in ("}", "]") if text in closers}

    def known(self, token: int) -> int:
        """An id as llguidance knows it: for all that end an answer, the one that it calls the end."""
        return self._end if self._end is not None and token in self.ends else token

    def allowed(self, matcher: Any) -> NDArray[np.bool_]:
        """Which ids (V,) may come next."""
        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(bits, count=self.size, bitorder="little").astype(bool)
        if self._end is not None and mask[self._end]:
            mask[list(self.ends)] = True
        return mask

    def way_out(self, matcher: Any, limit: int) -> list[int] | None:
        """Ids that bring the text to an end, at most ``limit`` of them; None if none were found."""
        for attempt in range(TRIES):
            way = self._walk(matcher.deep_copy(), limit, random.Random(attempt) if attempt else None)
            if way is not None:
                return way
        return None

    def _walk(self, matcher: Any, limit: int, chance: random.Random | None) -> list[int] | None:
        way: list[int] = []
        while not matcher.is_stopped():
            if matcher.is_accepting():
                way.append(self.tokenizer.eos_token)
                break
            some = matcher.compute_ff_tokens() or [self._prefer(self.allowed(matcher), chance)]
            way += some
            if len(way) > limit or not matcher.consume_tokens(some):
                return None
        return way if len(way) <= limit and not matcher.is_error() else None

    def _prefer(self, allowed: NDArray[np.bool_], chance: random.Random | None) -> int:
        closers = [token for token in self._closers if allowed[token]]
        if chance is not None and chance.random() < 0.5:
            return int(chance.choice(np.flatnonzero(allowed)))
        if self._quote in closers and self._brackets.issubset(closers):  # letters of a string, which ends first
            closers = [self._quote]
        if closers:
            return closers[0] if chance is None else chance.choice(closers)
        return int(allowed.argmax())


@lru_cache(maxsize=4)
def vocabulary(release: Release) -> Vocabulary:
    """The tokens of a release; made once, as it takes some tenths of a second."""
    return Vocabulary(release)
