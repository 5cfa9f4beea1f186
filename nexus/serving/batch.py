"""Requests answered together: rows join and leave between the steps of one batch.

The one idea: a step reads a part of one new prompt and then one token of every row, so a long prompt never holds up
answers under way. A prompt is read alone up to its last id, and that id is the row's first step in the batch.
Iteration-level scheduling: Yu et al. 2022 (Orca, OSDI); prompts in parts: Agrawal et al. 2023 (arXiv:2308.16369).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from nexus.core.lm_state import LMState
from nexus.inference.release import Release
from nexus.inference.sampling import GREEDY, Sampler, Sampling
from nexus.serving.ending import Ending
from nexus.serving.prefix_cache import PrefixCache, Scope
from nexus.serving.rows import alone, join, leave
from nexus.serving.weights import PLAIN_WEIGHTS, Choose, Weights, plain
from nexus.training.adapters import RowAdapters

PART = 512  # ids of a prompt that are read in one step


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What the model is asked: ids in, and how to go on from them.

    ``owner`` is whose cached states may be used and left behind.
    """

    prompt: list[int]
    max_new_tokens: int
    memory: int = 0  # version of the owner's memory that the prompt was made with
    sampling: Sampling = GREEDY
    stop: tuple[str, ...] = ()
    owner: str = ""


@dataclass(frozen=True)
class Piece:
    """Some more of an answer; the last one has a ``finish`` reason (stop, length, or error)."""

    text: str
    tokens: int
    cached: int
    finish: str | None = None


@dataclass(eq=False)
class Row:
    """One request on its way; ``emit`` is called from the thread that steps."""

    ask: Ask
    emit: Callable[[Piece], None]
    ending: Ending
    sampler: Sampler
    state: LMState | None = None  # until it joins the batch
    read: int = 0  # ids of the prompt
    cached: int = 0  # of these, how many did not have to be read
    marks: list[int] = field(default_factory=list)  # where in the prompt states are to be kept
    tokens: list[int] = field(default_factory=list)
    cancelled: bool = False
    weights: Weights = PLAIN_WEIGHTS  # chosen when it begins, and kept to its end whatever is promoted meanwhile

    @property
    def next_id(self) -> int:
        return self.tokens[-1] if self.tokens else self.ask.prompt[-1]


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
        self._adapters = RowAdapters(release.model)

    def row(self, ask: Ask, emit: Callable[[Piece], None]) -> Row:
        """A request that may be put into ``waiting``; its pieces will go to ``emit``."""
        model, generation = self.release.model, self.release.generation
        ending = Ending(self.release.tokenizer, generation.eos_ids, ask.stop, ask.max_new_tokens)
        return Row(ask, emit, ending, Sampler(ask.sampling, [ask.prompt], model.config.vocab_size, model.device))

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.waiting or self.reading or self.running)

    @torch.inference_mode()
    def step(self) -> None:
        """Read a part of one prompt, then one token of every row that has read its own."""
        self._drop_cancelled()
        while self.waiting and len(self.reading) + len(self.running) < self.most:
            self.reading.append(self._begin(self.waiting.popleft()))
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
            row.emit(Piece(text, len(row.tokens), row.cached, "error"))

    def _begin(self, row: Row) -> Row:
        row.weights = self.choose(row.ask.owner)
        found = self.cache.find(_scope(row), row.ask.prompt)
        row.state = self.release.model.init_state(1) if found.state is None else found.state
        row.read = row.cached = found.length
        last = len(row.ask.prompt) - 1  # kept for the same prompt, and for the next turn of the conversation
        row.marks = sorted({mark for mark in (found.branch, last) if mark > row.read})
        return row

    def _read_part(self, row: Row) -> None:
        assert row.state is not None
        if row.marks:
            end = min(row.read + PART, row.marks[0])
            ids = torch.tensor([row.ask.prompt[row.read : end]], device=self.release.model.device)
            with self._adapters.using(row.weights.adapter):
                row.state = self.release.model(ids, state=row.state, last_only=True).state
            row.read = end
            assert row.state is not None
            if end == row.marks[0]:
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
            row.tokens.append(int(row.sampler(out.logits[place : place + 1, -1])))
            text = row.ending.feed(row.tokens[-1])
            row.emit(Piece(text, len(row.tokens), row.cached, row.ending.reason))
        ended = [place for place, row in enumerate(self.running) if row.ending.reason]
        for place in ended:
            self._keep(place)
        self._remove(set(ended))

    def _keep(self, place: int) -> None:
        """Keep the state after an answer: the next turn goes on from there. The last id was not read yet."""
        row = self.running[place]
        if self.cache.budget:
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
