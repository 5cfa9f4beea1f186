"""What the Librarian asks of a teacher, and the teacher that fits into memory.

The one idea: one method takes blocks of tokens and gives back a sparse distribution for every position, block after
block; whether the teacher is resident or streamed layer by layer is its own business.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from nexus.core.state_space import HybridLM
from nexus.training.control import RunControl
from nexus.training.precision import Precision, mixed_precision
from nexus.training.sparse_targets import SparseTargets, sparsify

_LOGIT_BYTES = 96 * 2**20  # logits held at once (measured: with fewer tokens the head is read too often)
Progress = Callable[[float, str], object]
"""Called with an amount of tokens just done and a short note; a stage passes ``bar.advance``."""


class Sparsity(NamedTuple):
    """How much of a distribution is kept: see :func:`nexus.training.sparse_targets.sparsify`."""

    k: int = 8
    samples: int = 12
    temperature: float = 1.0


class BlockRequest(NamedTuple):
    """Tokens (B, T) of one block, and the seed of its draws."""

    ids: Tensor
    seed: int


@runtime_checkable
class TeacherSource(Protocol):
    """A teacher as the Librarian sees it."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens that it knows."""

    def sparse_blocks(
        self,
        requests: Sequence[BlockRequest],
        sparsity: Sparsity,
        control: RunControl | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, SparseTargets]]:
        """Yield each request's place in the list and its targets at (B, T), in any order.

        The same request gives the same bits, in any company. Asking for the next one, or for the end, tells that the
        last has been stored; called with no request at all when everything is stored already.
        """


class ResidentTeacher:
    """A teacher in memory, or any function from ids to logits.

    Args:
        run: ids (B, T) to last hidden states (B, T, D), or to logits (B, T, V) if there is no ``head``.
        head: (V, D) weights of the head.
        vocab_size: V, needed without a ``head`` only.
        batch_tokens: tokens that go through ``run`` at once.
        clock: measures :attr:`seconds`.

    Attributes:
        seconds: time by part: "teacher" (its layers), "head" (logits), "sparsify".
    """

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        head: Tensor | None = None,
        vocab_size: int = 0,
        batch_tokens: int = 2_048,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if head is None and not vocab_size:
            raise ValueError("vocab_size: unknown; pass it, or the head's weights")
        self._run, self._head, self._batch_tokens, self._clock = run, head, batch_tokens, clock
        self._vocab_size = vocab_size if head is None else len(head)
        self._piece = max(32, _LOGIT_BYTES // (4 * self._vocab_size))
        self._buffer: Tensor | None = None
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @classmethod
    def of(cls, model: HybridLM, precision: Precision = "float32", **options: Any) -> ResidentTeacher:
        """Wrap a language model; its logits are made in pieces and never held whole.

        ``precision`` is that of the layers; the head's logits stay in the model's own.
        """
        device = model.device

        def hidden(ids: Tensor) -> Tensor:
            with mixed_precision(device, precision):
                features, _ = model.backbone(model.embed(ids.to(device)))
            return features.to(model.dtype)

        return cls(hidden, model.lm_head.weight.detach(), **options)

    @property
    def vocab_size(self) -> int:
        """Number of tokens that it knows."""
        return self._vocab_size

    @torch.no_grad()
    def sparse_blocks(
        self,
        requests: Sequence[BlockRequest],
        sparsity: Sparsity,
        control: RunControl | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, SparseTargets]]:
        """See :class:`TeacherSource`. A stop is heard between batches; the block in work is lost then."""
        for place, request in enumerate(requests):
            generator = torch.Generator().manual_seed(request.seed)
            rows = max(1, self._batch_tokens // request.ids.shape[1])
            parts: list[SparseTargets] = []
            for ids in request.ids.split(rows):
                if control is not None:
                    control.check()
                parts += self._batch(ids, sparsity, generator)
                if progress is not None:
                    progress(ids.numel(), "")
            yield place, SparseTargets.cat(parts).reshape(*request.ids.shape)

    def _batch(self, ids: Tensor, sparsity: Sparsity, generator: torch.Generator) -> Iterator[SparseTargets]:
        start = self._clock()
        states = self._run(ids).flatten(0, 1)
        self.seconds["teacher"] += self._clock() - start
        for part in states.split(self._piece):
            start = self._clock()
            logits = part if self._head is None else self._logits(part, self._head)
            middle = self._clock()
            targets = sparsify(logits, sparsity.k, sparsity.samples, generator, sparsity.temperature)
            self.seconds["head"] += middle - start
            self.seconds["sparsify"] += self._clock() - middle
            yield targets.map(Tensor.cpu)

    def _logits(self, states: Tensor, head: Tensor) -> Tensor:
        """Logits (N, V) in a buffer that is used again: fresh memory for every piece is not free."""
        if self._buffer is None:
            self._buffer = states.new_empty(self._piece, len(head))
        return torch.mm(states, head.t(), out=self._buffer[: len(states)])


def as_source(teacher: TeacherSource | HybridLM) -> TeacherSource:
    """A model in memory becomes a source; a source stays what it is.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(teacher, HybridLM):
        return ResidentTeacher.of(teacher)
    if isinstance(teacher, TeacherSource):
        return teacher
    raise ValueError(
        f"teacher: is a {type(teacher).__name__}; pass a HybridLM, a SequentialLayerIntegrator, "
        "or wrap a function in ResidentTeacher"
    )
