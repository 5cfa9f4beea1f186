"""Gradient accumulation that is right for losses over tokens.

The one idea: the gradient of a mean over all tokens of several batches is the sum of their summed losses' gradients,
divided once by all tokens. The mean of the batches' means, which is what a plain loop takes, weighs a token of a short
batch more than one of a long batch. Sums are divided by an expected count at once, so that float16 keeps its range, and
by the true one at the end; where all batches are equally long the correction is exactly 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Loss:
    """A summed loss and what it was summed over.

    Attributes:
        total: scalar, with gradients.
        count: tokens (or samples) in it; a tensor stays where it is until the end of the step, so the device isn't
            waited for.
        expected: about how many there will be, known without looking (default: ``count``).
    """

    total: Tensor
    count: float | Tensor
    expected: float | None = None

    @classmethod
    def of(cls, value: Tensor | Loss) -> Loss:
        """A plain tensor is a mean that counts once, like any other batch's."""
        return value if isinstance(value, Loss) else cls(value, 1.0)

    def mean(self) -> Tensor:
        """Loss for each token."""
        return self.total / max(float(self.count), 1e-12)


class GradientAccumulation:
    """Sums gradients of several batches and makes them those of one mean.

    ::

        accumulation = GradientAccumulation(parts=4)
        for batch in four_batches:
            accumulation.backward(loss(model, batch))
        mean_loss = accumulation.finish(model.parameters())

    Args:
        parts: batches that are expected for each step.
        agree: given a number, its mean over all processes; None for one process.
        scale: applied to each loss before its backward, for a `GradScaler`.
    """

    def __init__(
        self,
        parts: int = 1,
        agree: Callable[[Tensor], Tensor] | None = None,
        scale: Callable[[Tensor], Tensor] = lambda loss: loss,
    ) -> None:
        self.parts, self.agree, self.scale = parts, agree, scale
        self._reset()

    def _reset(self) -> None:
        self.total: Tensor | None = None
        self.count: float | Tensor = 0.0
        self._expected = 0.0

    def backward(self, loss: Tensor | Loss) -> None:
        """Add one batch's gradients.

        Raises:
            ValueError: the loss is not a scalar, or has no graph.
        """
        part = Loss.of(loss)
        if part.total.dim():
            raise ValueError(f"loss: has shape {tuple(part.total.shape)}; return a scalar, or Loss(total, count)")
        if not part.total.requires_grad:
            raise ValueError(
                "loss: has no graph, so nothing would learn; look for detach(), no_grad(), .item(), or parameters that "
                "all have requires_grad=False"
            )
        if not self._expected:
            about = float(part.count if part.expected is None else part.expected)
            self._expected = self._everywhere(about) * self.parts or 1.0
        self.scale(part.total / self._expected).backward()
        held = part.total.detach()
        self.total = held if self.total is None else self.total + held
        self.count = self.count + part.count

    def _everywhere(self, count: float) -> float:
        return count if self.agree is None else float(self.agree(torch.tensor(count)))

    def finish(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Correct the gradients for the true count, and return the mean loss of the step (over all processes).

        Raises:
            ValueError: there was no batch.
        """
        if self.total is None:
            raise ValueError("accumulation: no batch came; call backward first")
        total, count = self.total.float(), float(self.count)
        if self.agree is not None:
            both = self.agree(torch.stack((total, torch.full_like(total, count))))
            total, count = both[0], float(both[1])
        factor = self._expected / count if count else 0.0
        if factor != 1:
            gradients = [p.grad for p in parameters if p.grad is not None]
            torch._foreach_mul_(gradients, factor)
        self._reset()
        return total / max(count, 1e-12)


def accumulate(model: nn.Module, batches: Sequence[Any], loss: Callable[[nn.Module, Any], Tensor | Loss]) -> Tensor:
    """Gradients of the mean loss over all tokens of ``batches``, added to the model's; returns that mean."""
    accumulation = GradientAccumulation(len(batches))
    for batch in batches:
        accumulation.backward(loss(model, batch))
    return accumulation.finish(model.parameters())
