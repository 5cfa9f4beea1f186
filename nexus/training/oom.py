"""Out of memory: halve the micro-batch and do the same samples again, so that the gradients stay those of the step.

The one idea: a step is retried as a whole from zeroed gradients. A sub-batch that died halfway through its backward
has already added to some gradients; only starting over makes the sum right. A sample is left out only when it doesn't
fit alone, and that is counted, listed, and refused above one percent, because it is always the long samples that go.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

LOG = logging.getLogger("nexus.guards")
Samples = Sequence[Any] | Tensor
_SIGNS = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "bad_alloc")


class OutOfMemoryLimit(ValueError):
    """Too many samples don't fit into memory even alone; the message says what to change."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on the GPU or in torch's CPU allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def free_memory() -> None:
    """Let go of unreachable tensors and of the GPU allocator's cache."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class OomGuard:
    """Run steps with retries, and remember between them what fits.

    Attributes:
        chunk: samples at once, found so far (None: never ran out, all at once).
        retries: how often a step was done again smaller.
        seen, skipped: samples so far, and the names of those left out.
    """

    def __init__(
        self, max_skipped: float = 0.01, grace: int = 1000, patience: int = 100, log: logging.Logger = LOG
    ) -> None:
        """Args: `max_skipped` share of samples that may be left out, counted over at least `grace` samples;
        `patience` clean steps after which twice as many samples at once are tried again."""
        self.max_skipped, self.grace, self.patience, self.log = max_skipped, grace, patience, log
        self.chunk: int | None = None
        self.retries = 0
        self.seen = 0
        self.skipped: list[str] = []
        self._clean = 0

    def run(
        self,
        samples: Samples,
        step: Callable[[Any, float], None],
        *,
        reset: Callable[[], None],
        weigh: Callable[[Any], float] = len,
        names: Sequence[str] | None = None,
    ) -> int:
        """Do one optimiser step's worth of forward and backward, in pieces that fit; return the samples used.

        Args:
            samples: a list, or a tensor split along its first axis.
            step: called as `step(piece, weight)`; does `(mean_loss(piece) * weight).backward()`. The weights sum to 1.
            reset: zeroes the gradients (and any sums `step` keeps); called before every try.
            weigh: what a piece counts in the mean: `len` for a mean over samples, the number of tokens for one over
                tokens. With it, gradients equal those of the step in one piece.
            names: what to call each sample when it is left out (default: its place in the run).

        Raises:
            OutOfMemoryLimit: more than `max_skipped` of the samples don't fit alone.
        """
        order = list(range(len(samples)))
        first_failure = len(self.skipped)
        retries = self.retries
        while order:
            failed = self._try(samples, order, step, reset, weigh)
            if failed is None:
                break
            free_memory()
            self._shrink_or_skip(order, failed, names)
        else:
            reset()
        self.seen += len(samples)
        self._grow(clean=self.retries == retries and len(self.skipped) == first_failure)
        return len(order)

    def _try(
        self,
        samples: Samples,
        order: list[int],
        step: Callable[[Any, float], None],
        reset: Callable[[], None],
        weigh: Callable[[Any], float],
    ) -> list[int] | None:
        """Do all pieces; return the indices of the one that didn't fit, or None."""
        reset()
        size = min(self.chunk or len(order), len(order))
        pieces = [order[at : at + size] for at in range(0, len(order), size)]
        total = float(weigh(_take(samples, order)))
        for piece in pieces:
            part = _take(samples, piece)
            if not _fits(step, part, float(weigh(part)) / total):
                return piece
        return None

    def _shrink_or_skip(self, order: list[int], failed: list[int], names: Sequence[str] | None) -> None:
        self.retries += 1
        self._clean = 0
        if len(failed) > 1:
            self.chunk = (len(failed) + 1) // 2
            self.log.warning("out of memory with %d samples at once: again with %d", len(failed), self.chunk)
            return
        index = failed[0]
        name = names[index] if names is not None else f"sample {self.seen + index}"
        self.skipped.append(name)
        order.remove(index)
        self.log.warning("out of memory with %s alone: left out (%d so far)", name, len(self.skipped))
        if len(self.skipped) > self.max_skipped * max(self.seen + len(order), self.grace):
            raise OutOfMemoryLimit(
                f"sequence_length: {len(self.skipped)} samples don't fit into memory even alone (the last: {name}), "
                f"more than {self.max_skipped:.0%}. cure: a shorter sequence_length, a smaller model, or more memory"
            )

    def _grow(self, clean: bool) -> None:
        if self.chunk is None or not clean:
            return
        self._clean += 1
        if self._clean >= self.patience:
            self._clean, self.chunk = 0, self.chunk * 2

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs, so that a resumed run splits its steps as the uninterrupted one."""
        names = ("chunk", "retries", "seen", "_clean")
        return {name: getattr(self, name) for name in names} | {"skipped": list(self.skipped)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set everything from `state_dict`'s result."""
        for name, value in state.items():
            setattr(self, name, list(value) if isinstance(value, list) else value)


def run_with_oom_retry(
    samples: Samples,
    step: Callable[[Any, float], None],
    *,
    reset: Callable[[], None],
    weigh: Callable[[Any], float] = len,
) -> int:
    """`OomGuard().run(...)` for a single step."""
    return OomGuard().run(samples, step, reset=reset, weigh=weigh)


def _take(samples: Samples, indices: list[int]) -> Any:
    return samples[indices] if isinstance(samples, Tensor) else [samples[index] for index in indices]


def _fits(step: Callable[[Any, float], None], piece: Any, weight: float) -> bool:
    # Only after `except` has ended does the failed frame let go of its tensors; so report, and act outside.
    try:
        step(piece, weight)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
