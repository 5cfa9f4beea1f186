"""Activation checkpointing beside the plain network: the same outputs and gradients, dropout included."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation, compare_gradients

ORACLE = ("torch",)
TOLERANCE = 0.0
MUTATIONS = (
    Mutation("other random draws the second time", "return checkpoint(inner, *inputs, use_reentrant=False, **options)",
             "return checkpoint(inner, *inputs, use_reentrant=False, preserve_rng_state=False, **options)"),
    Mutation("the first block only", ", block) for index, block in enumerate(module))",
             ", block) for index, block in enumerate(module[:1]))"),
    Mutation("remembered after all", "return checkpoint(inner, *inputs, use_reentrant=False, **options)",
             "return inner(*inputs, **options)"),
)  # fmt: skip


class _Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Dropout(0.3), nn.Linear(24, 6)) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


def _stack(seed: int) -> _Stack:
    torch.manual_seed(seed)
    return _Stack()


def example(seed: int = 0) -> Example:
    """A wrapped block, and its input."""
    from nexus.training.activation_checkpointing import ActivationCheckpointing

    torch.manual_seed(seed)
    return Example(ActivationCheckpointing(nn.Linear(4, 4)), (torch.randn(3, 4),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Outputs, gradients, and that less is kept for backward: a fifth of the numbers at most."""
    from nexus.training.activation_checkpointing import enable

    ours, theirs = _stack(seed), _stack(seed)
    enable(ours)
    outputs, kept = [], []
    for module in (ours, theirs):
        counts: list[int] = []
        torch.manual_seed(seed + 1)

        def keep(tensor: Tensor, counts: list[int] = counts) -> Tensor:
            counts.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs.append(module(torch.ones(32, 6, requires_grad=True)))
        kept.append(sum(counts))
    names = [(name, name) for name, _ in theirs.named_parameters()]
    torch.manual_seed(seed + 2)
    yield Comparison("little is kept", torch.tensor(kept[0] <= 0.2 * kept[1]).float(), torch.tensor(1.0))
    yield from compare_gradients(ours, outputs[0], theirs, outputs[1], names, seed)
