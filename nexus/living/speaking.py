"""The release speaks, and what it computed on the way is noted: greedy answers, and samples where they are wanted.

The one idea: a prompt is read once, and what many begin with once for all of them; the greedy answer and all samples go
on from copies of the same state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from nexus.core.lm_state import LMState
from nexus.core.state_space import LMOutput
from nexus.inference.batching import take_rows
from nexus.inference.generation import Progress, read_many
from nexus.inference.release import Release
from nexus.inference.sampling import GREEDY, Sampler, Sampling
from nexus.living.trace import Said, Trace, note

TOKENS = 32  # of an answer that is to be gated: what it says has to fit in a sentence
BATCH_TOKENS, BATCH_ROWS = 16_384, 48
WORTH_DROPPING = 0.75  # ended rows are dropped when this share is left: each time the caches are copied
CHANCE = Sampling(seed=0)  # samples: by plain chance at temperature 1


class Speaker(Protocol):
    """Whatever answers a chat in the release's own words."""

    def say(self, text: str) -> Said:
        """The answer to one user message."""


class Voice:
    """A release that is asked one question at a time, or many at once.

    Args:
        release: what speaks.
        tokens: length at which an answer is cut off.
        samples: how many answers are drawn by chance beside each greedy one.
    """

    def __init__(self, release: Release, tokens: int = TOKENS, samples: int = 0) -> None:
        if tokens < 1 or samples < 0:
            raise ValueError(f"tokens = {tokens}, samples = {samples}: too few; give 1 and 0 or more")
        self.release, self.tokens, self.samples = release, tokens, samples

    def prompt(self, text: str) -> list[int]:
        """The ids of a conversation that begins with this message."""
        return self.release.tokenizer.chat_ids(chat_of(self.release, text))

    def say(self, text: str) -> Said:
        """The answer to one user message."""
        return self.say_all([text])[0]

    def say_all(self, texts: Sequence[str], progress: Progress | None = None) -> list[Said]:
        """The answers to many messages, each asked by itself, in batches of like length.

        Args:
            progress: called after each batch with (answers done, answers in all).

        Raises:
            ValueError: a message leaves no room for an answer.
        """
        prompts = [self.prompt(text) for text in texts]
        longest, most = max(map(len, prompts), default=0) + self.tokens, self.release.model.config.max_seq_length
        if longest > most:
            raise ValueError(f"question: {longest} tokens with the answer, the model has {most}; say it shorter")
        said: dict[int, Said] = {}
        rows = max(1, BATCH_ROWS // (1 + self.samples))
        with torch.inference_mode():
            for batch, out in read_many(self.release.model, prompts, self.tokens, BATCH_TOKENS, rows):
                said.update(zip(batch, self._batch(out), strict=True))
                if progress is not None:
                    progress(len(said), len(prompts))
        return [said[i] for i in range(len(prompts))]

    def _batch(self, out: LMOutput) -> list[Said]:
        """Speak on from the ends of prompts."""
        assert out.state is not None
        logits, hidden, k = out.logits[:, -1], out.hidden[:, -1], self.samples
        drawn: list[Trace] = []
        if k:
            places = torch.arange(len(logits), device=logits.device).repeat_interleave(k)
            drawn = self._decode(logits[places], hidden[places], take_rows(out.state, places), CHANCE)
        greedy = self._decode(logits, hidden, out.state, GREEDY)
        return [self._said(trace, drawn[row * k : (row + 1) * k]) for row, trace in enumerate(greedy)]

    def _decode(self, logits: Tensor, hidden: Tensor, state: LMState, sampling: Sampling) -> list[Trace]:
        """Speak on from a state; ended rows leave the batch."""
        model, traces = self.release.model, [Trace() for _ in logits]
        sampler, rows = Sampler(sampling, [()] * len(traces), logits.shape[-1], model.device), list(range(len(traces)))
        while True:
            ids = sampler(logits)
            note([None if self._ended(traces[row]) else traces[row] for row in rows], ids, logits, hidden)
            stay = [place for place, row in enumerate(rows) if not self._ended(traces[row])]
            if not stay:
                return traces
            if len(stay) <= WORTH_DROPPING * len(rows):
                places = torch.tensor(stay, device=model.device)
                state, ids, rows = take_rows(state, places), ids[places], [rows[place] for place in stay]
                sampler.keep(places)
            out = model(ids[:, None], state=state, last_only=True)
            assert out.state is not None
            logits, hidden, state = out.logits[:, -1], out.hidden[:, -1], out.state

    def _ended(self, trace: Trace) -> bool:
        return len(trace.ids) >= self.tokens or self._at_end(trace)

    def _at_end(self, trace: Trace) -> bool:
        return bool(trace.ids) and trace.ids[-1] in self.release.generation.eos_ids

    def _said(self, trace: Trace, drawn: Sequence[Trace]) -> Said:
        samples = [(self._text(other), sum(other.logprobs)) for other in drawn]
        return trace.said(self._text(trace), self._at_end(trace), samples)

    def _text(self, trace: Trace) -> str:
        return self.release.tokenizer.decode(trace.ids).strip()


def chat_of(release: Release, text: str) -> list[dict[str, str]]:
    """A conversation that begins with this message."""
    system = release.generation.system
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": text}]
