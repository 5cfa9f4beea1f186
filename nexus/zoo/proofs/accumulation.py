"""Gradient accumulation beside one large batch, with batches of very different length."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch",)
TOLERANCE = 1e-6
MUTATIONS = (
    Mutation("mean of means", "self.scale(part.total / self._expected).backward()",
             "self.scale(part.total / part.count / self.parts).backward()"),
    Mutation("the true count is not taken", "factor = self._expected / count if count else 0.0", "factor = 1.0"),
    Mutation("corrected twice", "torch._foreach_mul_(gradients, factor)",
             "torch._foreach_mul_(gradients, factor * factor)"),
    Mutation("only the last batch counts", "self.count = self.count + part.count", "self.count = part.count"),
    Mutation("loss of the last batch only", "self.total = held if self.total is None else self.total + held",
             "self.total = held"),
)  # fmt: skip
LENGTHS = ((7, 2, 1, 5), (3, 3, 3), (1,), (2, 19))


def _net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def _batches(seed: int, lengths: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    return [(torch.randn(n, 4, generator=draw), torch.randint(3, (n,), generator=draw)) for n in lengths]


def example(seed: int = 0) -> Example:
    """The small network that is trained, and a batch."""
    return Example(_net(seed), (_batches(seed, (5,))[0][0],))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Loss and gradients over several lengths, of steps that follow each other."""
    from nexus.training.accumulation import GradientAccumulation, Loss

    ours, theirs = _net(seed), _net(seed)
    accumulation = GradientAccumulation()
    for lengths in LENGTHS:
        parts = _batches(seed + len(lengths), lengths)
        accumulation.parts = len(parts)
        for module in (ours, theirs):
            module.zero_grad(set_to_none=True)
        for inputs, labels in parts:
            total = F.cross_entropy(ours(inputs), labels, reduction="sum")
            accumulation.backward(Loss(total, len(labels)))
        mean = accumulation.finish(ours.parameters())
        inputs, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        whole = F.cross_entropy(theirs(inputs), labels)
        whole.backward()
        yield Comparison(f"loss over batches of {lengths}", mean, whole)
        for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert one.grad is not None
            assert other.grad is not None
            yield Comparison(f"gradient of {name} over batches of {lengths}", one.grad, other.grad)
