"""Requests answered together: rows join and leave between the steps of one batch.

The one idea: a step reads a part of one new prompt and then one token of every row, so a long prompt never holds up
answers under way. A prompt is read alone up to its last id, and that id is the row's first step in the batch.
Iteration-level scheduling: Yu et al. 2022 (Orca, OSDI); prompts in parts: Agrawal et al. 2023 (arXiv:2308.16369).
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nexus.core.lm_state import LMState
from nexus.inference.release import Release
from nexus.inference.sampling import GREEDY, Sampler, Sampling
from nexus.living.trace import Trace, note
from nexus.serving.ending import Ending
from nexus.serving.logprobs import Scored, Waiting, score
from nexus.serving.prefix_cache import PrefixCache, Scope
from nexus.serving.rows import alone, join, leave
from nexus.serving.structured import Grammar, GrammarError, Guide
from nexus.serving.weights import PLAIN_WEIGHTS, Choose, Weights, plain
from nexus.training.adapters import RowAdapters

PART = 512  # ids of a prompt that are read in one step


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What the model is asked: ids in, and how to go on from them.

    ``owner`` is whose cached states may be used and left behind. ``choices`` answers are given, each with its own draws
    of chance. With ``logprobs`` each token's log-probability is told, and those of so many alternatives. ``grammar``
    is what the text has to follow. ``messages`` is the chat that the prompt was made of, for the gate. ``trace`` takes
    what the model's own numbers say about the answer.
    """

    prompt: list[int]
    max_new_tokens: int
    memory: int = 0  # the owner's last event of forgetting when it was asked
    sampling: Sampling = GREEDY
    stop: tuple[str, ...] = ()
    owner: str = ""
    choices: int = 1
    logprobs: int | None = None
    grammar: Grammar | None = None
    messages: tuple[dict[str, str], ...] = ()
    trace: Trace | None = None

    @property
    def held(self) -> bool:
        """Whether plain words are no answer."""
        return self.grammar is not None and not self.grammar.words


@dataclass(frozen=True)
class Piece:
    """Some more of an answer; the last one has a ``finish`` reason (stop, length, or error).

    ``tokens`` is how many there are so far, ``cached`` how many of the prompt did not have to be read; ``nexus`` is
    what stands behind a gated answer.
    """

    text: str
    tokens: int
    cached: int
    finish: str | None = None
    scores: tuple[Scored, ...] = ()
    choice: int = 0
    nexus: dict[str, Any] | None = None


@dataclass(eq=False)
class Row:
    """One request on its way; ``emit`` is called from the thread that steps."""

    ask: Ask
    emit: Callable[[Piece], None]
    ending: Ending
    sampler: Sampler
    guide: Guide | None = None
    choice: int = 0
    state: LMState | None = None  # from when its prompt is read until it joins the batch
    read: int = 0  # ids of the prompt
    cached: int = 0  # of these, how many did not have to be read
    marks: list[int] = field(default_factory=list)  # where in the prompt states are to be kept
    tokens: list[int] = field(default_factory=list)
    scores: Waiting = field(default_factory=Waiting)
    cancelled: bool = False
    weights: Weights = PLAIN_WEIGHTS  # chosen when it begins, and kept to its end whatever is promoted meanwhile
    keeps: bool = True  # whether it may leave states behind

    @property
    def next_id(self) -> int:
        return self.tokens[-1] if self.tokens else self.ask.prompt[-1]

    def go_on(self, logits: Tensor) -> Piece:
        """Choose the next id by its logits (1, V), and say what it adds to the answer."""
        try:
            token = self._choose(logits)
        except GrammarError as error:
            self.ending.reason = "error"
            return self.piece(str(error), "error")
        self.tokens.append(token)
        before = self.ending.said
        text = self.ending.feed(token, last=self.guide is not None and self.guide.done)
        if self.ask.logprobs is not None and not self.ending.is_end(token):
            self.scores.put(score(logits, token, self.ask.logprobs, before), self.ending.said)
        return self.piece(text, self.ending.reason)

    def piece(self, text: str, finish: str | None) -> Piece:
        """Some more of this row's answer."""
        scores = () if self.ask.logprobs is None else self.scores.take(self.ending)
        return Piece(text, len(self.tokens), self.cached, finish, scores, self.choice)

    def _choose(self, logits: Tensor) -> int:
        if self.guide is None:
            return int(self.sampler(logits))
        left = self.ask.max_new_tokens - len(self.tokens) - 1
        return self.guide.take(int(self.sampler(self.guide.limit(logits))), left)


class Batch:
    """Answers any number of requests, step by step; not to be used from several threads.

    Args:
        release: model and tokenizer.
        rows: how many answers are under way at once; others wait.
        cache_bytes: budget of the prefix cache; 0 turns it off.
    """

    def __init__(self, release: Release, rows: int = 16, cache_bytes: int = 512 * 2**20) -> None:
        self.release, self.most, self.cache = release, rows, PrefixCache(cache_bytes)
        self.waiting: deque[Row] = deque()
        self.reading: deque[Row] = deque()
        self.running: list[Row] = []
        self._state: LMState | None = None
        self.choose: Choose = plain  # the weights of an owner's next request
        self._scopes: dict[str, Scope] = {}  # of each owner's last request: what was promoted and forgotten then
        self._adapters = RowAdapters(release.model)

    def row(self, ask: Ask, emit: Callable[[Piece], None], choice: int = 0) -> Row:
        """One answer to a request, that may be put into ``waiting``; its pieces will go to ``emit``."""
        model, generation = self.release.model, self.release.generation
        ending = Ending(self.release.tokenizer, generation.eos_ids, ask.stop, ask.max_new_tokens)
        sampler = Sampler(ask.sampling, [ask.prompt], model.config.vocab_size, model.device, [choice])
        return Row(ask, emit, ending, sampler, None if ask.grammar is None else ask.grammar.guide(), choice)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.waiting or self.reading or self.running)

    @torch.inference_mode()
    def step(self) -> None:
        """Read a part of one prompt, then one token of every row that has read its own."""
        self._drop_cancelled()
        while self.waiting and len(self.reading) + len(self.running) < self.most:
            self.reading.append(self.waiting.popleft())
        if self.reading:
            self._read_part(self.reading[0])
        if self.running:
            self._decode()

    def fail(self, text: str) -> None:
        """End all requests with an error, and forget every state."""
        rows = [*self.waiting, *self.reading, *self.running]
        self.waiting.clear()
        self.reading.clear()
        self.running, self._state = [], None
        self.cache.clear()
        for row in rows:
            row.emit(row.piece(text, "error"))

    def forget(self, owner: str) -> None:
        """Drop an owner's states; requests that wait or are answered now leave none behind either."""
        self._drop(owner, (*self.waiting, *self.reading, *self.running))

    def _begin(self, row: Row) -> None:
        """Find what is known of a prompt: when its turn to be read comes, so that it profits from those before it."""
        row.weights = self.choose(row.ask.owner, row.ask.prompt)
        self._enter(row)
        found = self.cache.find(_scope(row), row.ask.prompt)
        row.state = self.release.model.init_state(1) if found.state is None else found.state
        row.read = row.cached = found.length
        last = len(row.ask.prompt) - 1  # kept for the same prompt, and for the next turn of the conversation
        row.marks = sorted({mark for mark in (found.branch, last) if mark > row.read})

    def _enter(self, row: Row) -> None:
        """Drop what was read before this owner forgot something, or by weights that have changed since."""
        scope = replace(_scope(row), weights=row.weights.promoted)  # where it does not reach the release speaks
        last = self._scopes.setdefault(scope.owner, scope)
        if scope.memory < last.memory:  # asked before something was forgotten, and waited until after
            row.keeps = False
        elif scope != last:
            self._drop(scope.owner, self.running)
            self._scopes[scope.owner] = scope

    def _drop(self, owner: str, rows: Iterable[Row]) -> None:
        self.cache.drop(owner)
        for row in rows:
            row.keeps = row.keeps and row.ask.owner != owner

    def _read_part(self, row: Row) -> None:
        if row.state is None:
            self._begin(row)
        assert row.state is not None
        if row.marks:
            end = min(row.read + PART, row.marks[0])
            ids = torch.tensor([row.ask.prompt[row.read : end]], device=self.release.model.device)
            with self._adapters.using(row.weights.adapter):
                row.state = self.release.model(ids, state=row.state, last_only=True).state
            row.read = end
            assert row.state is not None
            if end == row.marks[0]:
                if row.keeps:
                    self.cache.put(_scope(row), row.ask.prompt[:end], row.state)
                row.marks.pop(0)
        if not row.marks:
            self.reading.popleft()
            self._state, row.state = join(self._state, row.state), None
            self.running.append(row)

    def _decode(self) -> None:
        model = self.release.model
        ids = torch.tensor([[row.next_id] for row in self.running], device=model.device)
        with self._adapters.using([row.weights.adapter for row in self.running]):
            out = model(ids, state=self._state, last_only=True)
        self._state = out.state
        for place, row in enumerate(self.running):
            here = slice(place, place + 1)
            piece = row.go_on(out.logits[here, -1])
            if row.ask.trace is not None:  # before the piece is out: who waits for the last one reads the trace
                note([row.ask.trace], ids.new_tensor(row.tokens[-1:]), out.logits[here, -1], out.hidden[here, -1])
            row.emit(piece)
        ended = [place for place, row in enumerate(self.running) if row.ending.reason]
        for place in ended:
            if self.running[place].ending.reason != "error":
                self._keep(place)
        self._remove(set(ended))

    def _keep(self, place: int) -> None:
        """Keep the state after an answer: the next turn goes on from there. The last id was not read yet."""
        row = self.running[place]
        if self.cache.budget and row.keeps:
            assert self._state is not None
            self.cache.put(_scope(row), row.ask.prompt + row.tokens[:-1], alone(self._state, place))

    def _remove(self, places: set[int]) -> None:
        if places:
            assert self._state is not None
            stay = [place for place in range(len(self.running)) if place not in places]
            self._state = leave(self._state, stay)
            self.running = [self.running[place] for place in stay]

    def _drop_cancelled(self) -> None:
        self.waiting = deque(row for row in self.waiting if not row.cancelled)
        self.reading = deque(row for row in self.reading if not row.cancelled)
        self._remove({place for place, row in enumerate(self.running) if row.cancelled})


def _scope(row: Row) -> Scope:
    return Scope(row.ask.owner, row.weights.version, row.ask.memory)
