"""Short experiments on a model: does it see the future, can it learn one batch, which learning rate suits it.

They work on copies or in evaluation mode, and leave weights, gradients and generators as they were.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nexus.training.accumulation import Loss
from nexus.training.audit.activations import Watcher, is_language
from nexus.training.objectives import logits_of

LossFunction = Callable[[nn.Module, Any], Tensor | Loss]
LEAK = 1e-3  # change of a logit, relative to the largest, that is no rounding


def first_look(model: nn.Module, watcher: Watcher, loss: float, causal: bool) -> dict[str, Any]:
    """Facts that hold for the whole run, from its first step."""
    facts: dict[str, Any] = {"initial_loss": loss, "parameters": sum(p.numel() for p in model.parameters())}
    logits, ids = watcher.logits, watcher.inputs
    if logits is not None and logits.dim() > 1:
        facts["classes"] = logits.shape[-1]
        facts["uniform_loss"] = math.log(logits.shape[-1]) if logits.shape[-1] > 1 else 0.0
        facts["language"] = is_language(ids, logits)
    if causal and is_language(ids, logits):
        assert ids is not None
        facts["sees_future"] = sees_future(model, ids[:1])
    return facts


@torch.no_grad()
def sees_future(model: nn.Module, ids: Tensor) -> float:
    """How much logits change before the place where ids (B, T) were changed, relative to the largest logit.

    0 for a causal model; above `LEAK` tokens of the future leak into the prediction of themselves.
    """
    was_training, half = model.training, ids.shape[1] // 2
    model.eval()
    try:
        with torch.random.fork_rng():
            one = logits_of(model(ids)).float()
            other = ids.clone()
            other[:, half:] = (other[:, half:] + 1) % one.shape[-1]
            two = logits_of(model(other)).float()
    finally:
        model.train(was_training)
    size = float(one.abs().max()) or 1.0
    return float((one - two)[:, :half].abs().max()) / size


def can_overfit_one_batch(
    model: nn.Module, loss: LossFunction, batch: Any, steps: int = 60, learning_rate: float = 3e-3, share: float = 0.5
) -> bool:
    """Whether a copy of the model, trained on this batch alone, gets its loss below ``share`` of what it was.

    A model that can't has a broken graph, labels that contradict each other, or no capacity.
    """
    with torch.random.fork_rng():
        trial = copy.deepcopy(model).train()
        optimizer = torch.optim.AdamW((p for p in trial.parameters() if p.requires_grad), lr=learning_rate)
        first = last = math.nan
        for _ in range(steps):
            value = Loss.of(loss(trial, batch)).mean()
            last = float(value.detach())
            first = last if math.isnan(first) else first
            if last < share * first or not value.requires_grad:
                break
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return last < share * first


@dataclass(frozen=True)
class RangeTest:
    """Losses at rising learning rates, and what follows: the rate of the steepest fall, and the largest that still
    fell."""

    rates: list[float]
    losses: list[float]
    suggestion: float
    limit: float


def learning_rate_range_test(
    model: nn.Module,
    loss: LossFunction,
    batches: Iterable[Any],
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 60,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> RangeTest:
    """Train a copy while the rate rises from ``low`` to ``high`` (arXiv:1506.01186, section 3.3).

    The suggestion is a third of the rate at which the smoothed loss was lowest: the last one that still helped.

    Raises:
        ValueError: the range is empty, or there are fewer than 10 steps.
    """
    if not 0 < low < high or steps < 10:
        raise ValueError(f"low={low}, high={high}, steps={steps}: give 0 < low < high, and 10 steps or more")
    rates: list[float] = []
    losses: list[float] = []
    smooth = math.nan
    with torch.random.fork_rng():
        trial = copy.deepcopy(model).train()
        chosen = optimizer((p for p in trial.parameters() if p.requires_grad), lr=low)
        for index, batch in zip(range(steps), _again(batches), strict=False):
            rate = low * (high / low) ** (index / (steps - 1))
            for group in chosen.param_groups:
                group["lr"] = rate
            value = Loss.of(loss(trial, batch)).mean()
            now = float(value.detach())
            smooth = now if math.isnan(smooth) else 0.8 * smooth + 0.2 * now
            if not math.isfinite(smooth) or (losses and smooth > 2 * min(losses)):
                break
            rates.append(rate)
            losses.append(smooth)
            chosen.zero_grad()
            value.backward()
            chosen.step()
    lowest = min(range(len(losses)), key=losses.__getitem__) if losses else 0
    return RangeTest(rates, losses, rates[lowest] / 3 if rates else low, rates[lowest] if rates else low)


def _again(batches: Iterable[Any]) -> Iterable[Any]:
    held = list(batches)
    while held:
        yield from held
