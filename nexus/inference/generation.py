"""Answers of a language model: for a batch of prompts at once, for many prompts, or token by token.

The one idea: a prompt is read once into an explicit state, what many prompts begin with is read once for all, and rows
leave the batch as their answers end: what is paid for is what is new.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

import torch
from torch import Tensor

from nexus.core.state_space import HybridLM, LMOutput, LMState
from nexus.inference.batching import batches, families, merge, pad_left, take_rows
from nexus.inference.sampling import GREEDY, Sampler, Sampling

Stop = Callable[[list[int]], bool]  # is this answer (the new ids so far) at its end?
Progress = Callable[[int, int], None]  # (prompts done, prompts in all)

BATCH_TOKENS = 32_768  # of prompts and answers together: what the caches of one batch hold
BATCH_ROWS = 128  # 33, 64 and 100 rows take 1, 1.06 and 1.6 times as long a step on two cores (measured)
WORTH_SHARING = 16  # tokens that prompts begin with, from which on these are read once for all of them
WORTH_DROPPING = 0.75  # ended rows are dropped when this share is left: each time the caches are copied


@dataclass(frozen=True)
class _Rules:
    """When an answer ends and how its tokens are chosen."""

    max_new_tokens: int
    eos_ids: frozenset[int]
    sampling: Sampling
    stop: Stop | None

    @classmethod
    def of(cls, max_new_tokens: int, eos_ids: Collection[int], sampling: Sampling | None, stop: Stop | None) -> Self:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={max_new_tokens}: is not positive; ask for at least one token")
        return cls(max_new_tokens, frozenset(eos_ids), sampling or GREEDY, stop)

    def ended(self, answer: list[int]) -> bool:
        """Whether the answer, which holds at least one token, is complete."""
        if len(answer) >= self.max_new_tokens or answer[-1] in self.eos_ids:
            return True
        return self.stop is not None and self.stop(answer)


def generate(
    model: HybridLM,
    input_ids: Tensor | Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos_ids: Collection[int] = (),
    sampling: Sampling | None = None,
    mask: Tensor | None = None,
    stop: Stop | None = None,
) -> list[list[int]]:
    """Answer all prompts in one batch.

    Args:
        input_ids: lists of ids, of any lengths; or (B, T) with padding on the left where ``mask`` (B, T) is False.
        max_new_tokens: length at which an answer is cut off.
        eos_ids: ids that end an answer; the one that did is its last.
        sampling: how tokens are chosen; greedy if None.
        stop: called with the ids of each unfinished answer, ends it when it says True.

    Returns:
        The new ids of each row, in the order of the prompts; greedy ones equal those of each prompt alone.

    Raises:
        ValueError: an empty prompt, an id outside of the vocabulary, a mask without a tensor, no room for an answer.
    """
    rules = _Rules.of(max_new_tokens, eos_ids, sampling, stop)
    prompts = _checked(_as_lists(input_ids, mask), model.config.vocab_size)
    if not prompts:
        return []
    with torch.inference_mode():
        out = _read(model, prompts, model.init_state(len(prompts)))
        return _decode(model, out, _sampler(model, rules, prompts), rules)


def generate_many(
    model: HybridLM,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos_ids: Collection[int] = (),
    sampling: Sampling | None = None,
    stop: Stop | None = None,
    batch_tokens: int = BATCH_TOKENS,
    batch_rows: int = BATCH_ROWS,
    progress: Progress | None = None,
) -> list[list[int]]:
    """Answer any number of prompts in batches of like length; what several of them begin with is read once.

    Args:
        batch_tokens: bound on rows times (longest prompt + ``max_new_tokens``) of a batch; at least one row goes in.
        batch_rows: bound on the rows of a batch.
        progress: called after each batch with (prompts done, prompts in all).
        Others as for :func:`generate`, with the same results.
    """
    rules = _Rules.of(max_new_tokens, eos_ids, sampling, stop)
    prompts = _checked([list(prompt) for prompt in prompts], model.config.vocab_size)
    answers: dict[int, list[int]] = {}
    with torch.inference_mode():
        for batch, out in read_many(model, prompts, max_new_tokens, batch_tokens, batch_rows):
            sampler = _sampler(model, rules, [prompts[i] for i in batch], batch)
            answers.update(zip(batch, _decode(model, out, sampler, rules), strict=True))
            if progress is not None:
                progress(len(answers), len(prompts))
    return [answers[i] for i in range(len(prompts))]


class TokenStream(Iterator[int]):
    """The answer to one prompt, token by token; made by :func:`stream`.

    Reading may stop after any token, also by an exception such as ``KeyboardInterrupt``: ``state``, ``unread`` and
    ``tokens`` still fit together then, and a later stream goes on from them.
    """

    def __init__(self, model: HybridLM, prompt: list[int], rules: _Rules, state: LMState) -> None:
        self._model, self._rules = model, rules
        self._sampler = _sampler(model, rules, [prompt])
        self._tokens: list[int] = []
        self._now = (state, prompt, 0)  # one value, replaced in one go, so that no exception comes in between

    @property
    def state(self) -> LMState:
        """The state after the prompt and all ``tokens`` but the ``unread``."""
        return self._now[0]

    @property
    def unread(self) -> list[int]:
        """What has to be fed before anything new when ``state`` is continued: the last token, as a rule."""
        return self._now[1]

    @property
    def tokens(self) -> list[int]:
        """The answer so far."""
        return self._tokens[: self._now[2]]

    @torch.inference_mode()
    def __next__(self) -> int:
        if self._tokens and self._rules.ended(self._tokens):
            raise StopIteration
        out = _read(self._model, [self.unread], self.state)
        token = int(self._sampler(out.logits[:, -1]))
        assert out.state is not None
        self._tokens.append(token)
        self._now = (out.state, [token], len(self._tokens))
        return token


def stream(
    model: HybridLM,
    input_ids: Sequence[int],
    *,
    max_new_tokens: int,
    eos_ids: Collection[int] = (),
    sampling: Sampling | None = None,
    state: LMState | None = None,
    stop: Stop | None = None,
) -> TokenStream:
    """Answer one prompt token by token, going on from the ``state`` (of one row) of an earlier stream if there is one.

    The state passed in is used up; ``fork()`` it first to go on from it twice. Others as for :func:`generate`.
    """
    rules = _Rules.of(max_new_tokens, eos_ids, sampling, stop)
    (prompt,) = _checked([list(input_ids)], model.config.vocab_size)
    return TokenStream(model, prompt, rules, model.init_state(1) if state is None else state)


def _as_lists(input_ids: Tensor | Sequence[Sequence[int]], mask: Tensor | None) -> list[list[int]]:
    if not isinstance(input_ids, Tensor):
        if mask is not None:
            raise ValueError("mask: given with lists of ids; leave it out, lists are padded here")
        return [list(row) for row in input_ids]
    if input_ids.dim() != 2:
        raise ValueError(f"input_ids: Expected 2 dimensions, got {input_ids.dim()}; pass (batch, length)")
    if mask is None:
        return input_ids.tolist()
    return [row[real].tolist() for row, real in zip(input_ids, mask, strict=True)]


def _checked(prompts: list[list[int]], vocab_size: int) -> list[list[int]]:
    for i, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"input_ids[{i}]: is empty; a prompt needs at least one token")
        wrong = next((token for token in prompt if not 0 <= token < vocab_size), None)
        if wrong is not None:
            known = f"the vocabulary is 0 to {vocab_size - 1}"
            raise ValueError(f"input_ids[{i}]: holds {wrong}, {known}; use the tokenizer that came with the model")
    return prompts


def _sampler(model: HybridLM, rules: _Rules, prompts: list[list[int]], streams: Sequence[int] | None = None) -> Sampler:
    return Sampler(rules.sampling, prompts, model.config.vocab_size, model.device, streams)


def _read(model: HybridLM, rows: list[list[int]], state: LMState) -> LMOutput:
    """Logits (B, 1, V) after the last token of each row, and the state there."""
    ids, mask = pad_left(rows, model.device)
    return model(ids, state=state, mask=mask, last_only=True)


def read_many(
    model: HybridLM, prompts: list[list[int]], new: int, tokens: int, rows: int
) -> Iterator[tuple[list[int], LMOutput]]:
    """Read all prompts in batches; what several begin with is read once.

    Args:
        prompts: lists of ids, none empty.
        new: tokens that each answer may have; tokens, rows: bounds of a batch, as for :func:`generate_many`.

    Yields:
        Indices of a batch's rows, and the output (B, 1, ...) after their last tokens with the state there.
    """
    lengths = [len(prompt) + new for prompt in prompts]
    found = sorted(families(prompts, WORTH_SHARING), key=lambda family: -max(lengths[i] for i in family[1]))
    alone = [i for shared, members in found for i in members if not shared]
    for batch in batches(alone, lengths, tokens, rows):
        yield batch, _read(model, [prompts[i] for i in batch], model.init_state(len(batch)))
    beginnings = {i: prompts[i][:shared] for shared, members in found for i in members if shared}
    held: dict[tuple[int, ...], LMState] = {}
    for batch in batches(list(beginnings), lengths, tokens, rows):
        batch.sort(key=lambda i: len(prompts[i]) - len(beginnings[i]))
        heads = [tuple(beginnings[i]) for i in batch]
        held = _read_beginnings(model, heads, held)
        rests = [prompts[i][len(beginnings[i]) :] for i in batch]
        yield batch, _read_on(model, rests, [held[head] for head in heads])


def _read_beginnings(
    model: HybridLM, heads: list[tuple[int, ...]], held: dict[tuple[int, ...], LMState]
) -> dict[tuple[int, ...], LMState]:
    """A state of one row for each of ``heads``, those that are ``held`` already not read again."""
    new = [head for head in dict.fromkeys(heads) if head not in held]
    states = {head: held[head] for head in heads if head in held}
    if new:
        state = _read(model, [list(head) for head in new], model.init_state(len(new))).state
        assert state is not None
        places = torch.arange(len(new), device=model.device)
        states.update({head: take_rows(state, places[i : i + 1]) for i, head in enumerate(new)})
    return states


def _read_on(model: HybridLM, rows: list[list[int]], states: list[LMState]) -> LMOutput:
    """Read rows, the shorter ones first, that go on from ``states`` of one row each.

    Padding between a beginning and its rest would come between the tokens of a convolution, so rows of equal length
    are read together and their states merged.
    """
    parts = []
    for _, group in groupby(range(len(rows)), key=lambda place: len(rows[place])):
        places = list(group)
        before = merge([states[p] for p in places]) if len(places) > 1 else states[places[0]].fork()
        parts.append(_read(model, [rows[p] for p in places], before))
    logits = torch.cat([part.logits for part in parts])
    hidden = torch.cat([part.hidden for part in parts])
    return LMOutput(logits, hidden, merge([part.state for part in parts if part.state is not None]))


def _decode(model: HybridLM, out: LMOutput, sampler: Sampler, rules: _Rules) -> list[list[int]]:
    """Go on from ``out`` until all rows have ended."""
    answers: list[list[int]] = [[] for _ in range(out.logits.shape[0])]
    rows = list(range(len(answers)))  # rows[p]: whose answer place p of the batch continues
    alive = set(rows)
    while True:
        ids = sampler(out.logits[:, -1])
        for row, token in zip(rows, ids.tolist(), strict=True):
            if row in alive:
                answers[row].append(token)
                if rules.ended(answers[row]):
                    alive.discard(row)
        if not alive:
            return answers
        assert out.state is not None
        state = out.state
        if len(alive) <= WORTH_DROPPING * len(rows):
            places = torch.tensor([place for place, row in enumerate(rows) if row in alive], device=ids.device)
            state, ids = take_rows(state, places), ids[places]
            rows = [row for row in rows if row in alive]
            sampler.keep(places)
        out = model(ids[:, None], state=state, last_only=True)
