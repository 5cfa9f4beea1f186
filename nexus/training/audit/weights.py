"""A look at weights, gradients and updates of one step, by group of parameters.

The one idea: the update is measured, not computed: weights after the step minus weights before, over weights before. It
holds for every optimiser; for plain gradient descent it is the guide's ``eta |grad| / |W|``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

LISTED = 8  # names that a reading holds of each kind


def group_of(name: str) -> str:
    """The block a parameter belongs to: ``backbone.blocks.3`` of ``backbone.blocks.3.mlp.up.weight``."""
    parts = name.split(".")
    for index, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: index + 1])
    return ".".join(parts[:-1]) or name


def stale_gradients(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether gradients of an earlier step are still there when one begins."""
    held = [p.grad for p in parameters if p.grad is not None][:LISTED]
    return any(bool(_whole(g).any()) for g in held)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def norms(tensors: Sequence[Tensor]) -> list[float]:
    """Norm of each tensor, with one wait for the device; whole norms of sharded tensors."""
    if not tensors:
        return []
    found = [_whole(norm) for norm in torch._foreach_norm(list(tensors))]
    return torch.stack([norm.float() for norm in found]).tolist()


class WeightLook:
    """Taken around one optimiser step: `before`, then `after`, then `result`."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], optimizer: Optimizer | None) -> None:
        self._parameters = parameters
        self._held = None if optimizer is None else {id(p) for g in optimizer.param_groups for p in g["params"]}
        self._old: dict[str, Tensor] = {}
        self._result: dict[str, Any] = {}

    @torch.no_grad()
    def before(self) -> None:
        """Just before the update: norms of gradients and weights."""
        named = self._parameters
        learnt = {name: p for name, p in named.items() if p.requires_grad}
        graded = {name: p for name, p in learnt.items() if p.grad is not None}
        gradients = dict(zip(graded, norms([p.grad for p in graded.values() if p.grad is not None]), strict=True))
        weights = dict(zip(learnt, norms([p.detach() for p in learnt.values()]), strict=True))
        silent = [name for name in learnt if not gradients.get(name)]
        unheld = [] if self._held is None else [name for name, p in graded.items() if id(p) not in self._held]
        self._result = {
            "gradient": _root(gradients.values()),
            "weight": _root(weights.values()),
            "silent": silent[:LISTED],
            "silent_count": len(silent),
            "unheld": unheld[:LISTED],
            "unheld_count": len(unheld),
            "learnt_count": len(learnt),
            "frozen_count": len(named) - len(learnt),
            "groups": _grouped(gradients, weights),
        }
        self._weights = weights
        self._old = {name: p.detach().clone() for name, p in learnt.items() if p.dim() > 1}

    @torch.no_grad()
    def after(self) -> None:
        """Just after it: how far the matrices moved."""
        if not self._old:
            return
        new = [self._parameters[name].detach() for name in self._old]
        moved = dict(zip(self._old, norms(torch._foreach_sub(new, list(self._old.values()))), strict=True))
        self._old = {}
        for group, figures in self._result["groups"].items():
            names = [name for name in moved if group_of(name) == group]
            if names:
                size = _root(self._weights[name] for name in names)
                figures["ratio"] = _root(moved[name] for name in names) / size if size else math.inf
        whole = _root(self._weights[name] for name in moved)
        self._result["ratio"] = _root(moved.values()) / whole if whole else math.inf

    def result(self) -> dict[str, Any]:
        """The figures; empty if there was no update."""
        return self._result


def _root(values: Iterable[float]) -> float:
    return math.sqrt(sum(value * value for value in values))


def _grouped(gradients: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, dict[str, float]]:
    groups: dict[str, list[str]] = {}
    for name in weights:
        groups.setdefault(group_of(name), []).append(name)
    return {
        group: {
            "gradient": _root(gradients.get(name, 0.0) for name in names),
            "weight": _root(weights[name] for name in names),
        }
        for group, names in groups.items()
    }
