"""What a model's own numbers say about an answer, noted token by token while it speaks.

The one idea: scores are made of what the forward pass has computed anyway: the log-probability of each token that was
said, the entropy of each choice, and the hidden state before it. Nothing is run twice. Log-probabilities and entropies
are in nats and count the token that ends the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Said:
    """A finished answer with its numbers.

    Attributes:
        text: the answer without the tokens that end it.
        tokens: how many there were, the end included.
        ended: whether it came to its own end, rather than to the limit.
        logprobs, entropies: (tokens,), of what was said and of each choice.
        question: (D,) the hidden state at the end of the prompt.
        answer: (D,) the mean hidden state over the answer.
        samples: further answers to the same prompt, drawn by chance; empty unless they were asked for.
        sample_logprobs: the sum of log-probabilities of each of them.
    """

    text: str
    tokens: int
    ended: bool
    logprobs: Floats
    entropies: Floats
    question: Floats
    answer: Floats
    samples: tuple[str, ...] = ()
    sample_logprobs: tuple[float, ...] = ()


@dataclass(eq=False)
class Trace:
    """Numbers of one answer under way."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    question: Tensor | None = None
    total: Tensor | None = None

    def said(self, text: str, ended: bool, samples: Sequence[tuple[str, float]] = ()) -> Said:
        """The finished answer."""
        assert self.question is not None
        assert self.total is not None
        return Said(
            text=text,
            tokens=len(self.ids),
            ended=ended,
            logprobs=np.array(self.logprobs),
            entropies=np.array(self.entropies),
            question=_array(self.question),
            answer=_array(self.total / len(self.ids)),
            samples=tuple(sample for sample, _ in samples),
            sample_logprobs=tuple(total for _, total in samples),
        )


def note(traces: Sequence[Trace | None], ids: Tensor, logits: Tensor, hidden: Tensor) -> None:
    """Add a token to each trace that is not None.

    Args:
        traces: one a row.
        ids: (B,) the tokens that were chosen.
        logits: (B, V) what they were chosen from, before any temperature or limit.
        hidden: (B, D) the states that gave the logits.
    """
    logs = logits.float().log_softmax(-1)
    chosen = logs.gather(1, ids[:, None])[:, 0].tolist()
    entropies = torch.special.entr(logs.exp()).sum(-1).tolist()
    for row, (trace, token) in enumerate(zip(traces, ids.tolist(), strict=True)):
        if trace is None:
            continue
        own = hidden[row].float()
        trace.question = own.clone() if trace.question is None else trace.question
        trace.total = own.clone() if trace.total is None else trace.total + own
        trace.ids.append(token)
        trace.logprobs.append(chosen[row])
        trace.entropies.append(entropies[row])


def _array(tensor: Tensor) -> Any:
    return tensor.double().cpu().numpy()
