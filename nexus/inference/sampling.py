"""Choosing the next token: greedy, or by chance within limits.

The one idea: every row of a batch draws from a random generator of its own, so an answer does not depend on which
other prompts happened to share the batch. Sources: top-k Fan et al. 2018 (arXiv:1805.04833), top-p Holtzman et al.
2019 (arXiv:1904.09751), min-p Nguyen et al. 2024 (arXiv:2407.01082), repetition penalty Keskar et al. 2019
(arXiv:1909.05858).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nexus.core.base import BaseConfig, fault, in_range

NEVER = float("-inf")


@dataclass(frozen=True, kw_only=True)
class Sampling(BaseConfig):
    """How tokens are chosen; as it stands, by plain chance (temperature 1 and no limit).

    ``temperature`` 0 is greedy. ``top_k`` keeps the k likeliest (0: all); ``top_p`` the fewest that together have that
    probability (1: all); ``min_p`` those at least that share of the likeliest one's probability (0: all).
    ``repetition_penalty`` above 1 makes tokens of the prompt and the answer so far less likely. ``seed`` None draws a
    fresh one for each call.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def faults(self) -> list[str]:
        """Everything that is out of range, one line each."""
        found = [*in_range(self, "temperature", 0.0, math.inf, open_high=True), *in_range(self, "top_k", 0)]
        found += [*in_range(self, "top_p", 0.0, 1.0), *in_range(self, "min_p", 0.0, 1.0)]
        if not 0 < self.repetition_penalty < math.inf:
            cure = "give a number above 0; 1 changes nothing"
            found.append(fault("repetition_penalty", self.repetition_penalty, "is out of range", cure))
        return found


GREEDY = Sampling(temperature=0.0)


class Sampler:
    """Draws for the rows of one batch.

    Args:
        sampling: the rules.
        prompts: the ids of each row's prompt, which the repetition penalty counts as said.
        vocab_size: width of the logits.
        device: where the logits will be.
        streams: the number of each row's stream of random draws; 0, 1, 2 ... if None.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompts: Sequence[Sequence[int]],
        vocab_size: int,
        device: torch.device,
        streams: Sequence[int] | None = None,
    ) -> None:
        self.sampling = sampling
        seed = int(torch.randint(2**62, ())) if sampling.seed is None else sampling.seed  # torch.manual_seed holds too
        numbers = range(len(prompts)) if streams is None else streams
        self._generators = [torch.Generator().manual_seed((seed + number) % 2**63) for number in numbers]
        self._said: Tensor | None = None
        if sampling.repetition_penalty != 1:
            self._said = torch.zeros(len(prompts), vocab_size, dtype=torch.bool, device=device)
            for said, prompt in zip(self._said, prompts, strict=True):
                said[torch.as_tensor(prompt, dtype=torch.long, device=device)] = True

    def keep(self, places: Tensor) -> None:
        """Go on with only the rows at these places (a 1-D tensor of indices) of the present batch."""
        self._generators = [self._generators[place] for place in places.tolist()]
        if self._said is not None:
            self._said = self._said[places]

    def __call__(self, logits: Tensor) -> Tensor:
        """Pick one id a row, (B,), from ``logits`` (B, V)."""
        if self._said is not None:
            logits = penalise(logits, self._said, self.sampling.repetition_penalty)
        if self.sampling.temperature == 0:
            ids = logits.argmax(-1)
        else:
            ids = draw(distribution(logits, self.sampling), self._uniforms().to(logits.device))
        if self._said is not None:
            self._said.scatter_(1, ids[:, None], True)
        return ids

    def _uniforms(self) -> Tensor:
        return torch.stack([torch.rand((), generator=own, dtype=torch.float64) for own in self._generators])


def distribution(logits: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities (B, V) after temperature and limits, in that order: temperature, top-k, top-p, min-p."""
    logits = logits.double() / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        logits = logits.masked_fill(_beyond_top_k(logits, sampling.top_k), NEVER)
    if sampling.top_p < 1:
        logits = logits.masked_fill(_beyond_top_p(logits, sampling.top_p), NEVER)
    if sampling.min_p > 0:
        least = logits.max(-1, keepdim=True).values + math.log(sampling.min_p)
        logits = logits.masked_fill(logits < least, NEVER)
    return logits.softmax(-1)


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """The ids (B,) at which the running sums of ``probabilities`` (B, V) pass ``uniform`` (B,) in [0, 1)."""
    sums = probabilities.cumsum(-1)
    # A hair below the total, so that rounding cannot point behind the last token that has any probability.
    targets = uniform[:, None] * sums[:, -1:] * (1 - 1e-12)
    return torch.searchsorted(sums, targets, right=True)[:, 0]


def penalise(logits: Tensor, said: Tensor, penalty: float) -> Tensor:
    """Divide positive and multiply negative logits (B, V) by ``penalty`` where ``said`` (B, V) is True."""
    return torch.where(said, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def _beyond_top_k(logits: Tensor, k: int) -> Tensor:
    """True at what is dropped; a tie with the last one kept is kept too."""
    return logits < logits.topk(k, dim=-1).values[:, -1:]


def _beyond_top_p(logits: Tensor, p: float) -> Tensor:
    """True at what is dropped; the likeliest stays even for p = 0."""
    ranked, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ranked.softmax(-1)
    dropped = probabilities.cumsum(-1) - probabilities >= p  # those likelier than this one are enough
    dropped[:, 0] = False
    return torch.zeros_like(dropped).scatter_(1, order, dropped)
