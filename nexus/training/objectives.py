"""Losses for the trainer: next token, classes, squares; each says how many tokens it is a mean over.

A loss is any function of a model and a batch that returns a scalar, or a :class:`nexus.training.accumulation.Loss` if
batches shall count by their tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.training.accumulation import Loss

IGNORED = -100  # a label that isn't learnt


def logits_of(output: Any) -> Tensor:
    """The logits in what a model returns: a tensor, an object or mapping with ``logits``, or a tuple's first part.

    Raises:
        ValueError: there are none.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and "logits" in output:
        return output["logits"]
    if hasattr(output, "logits"):
        return output.logits
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise ValueError(f"output: a {type(output).__name__} without logits; pass a loss function that knows this model")


def ids_and_labels(batch: Any) -> tuple[Tensor, Tensor]:
    """Token ids (B, T), and labels that stand at the position they are read at: ``labels[t]`` is token t itself.

    The batch is a tensor of ids, a pair (ids, labels), or a mapping with ``input_ids`` and perhaps ``labels``.
    """
    if isinstance(batch, Mapping):
        return batch["input_ids"], batch.get("labels", batch["input_ids"])
    if isinstance(batch, (tuple, list)):
        return (batch[0], batch[1]) if len(batch) > 1 else (batch[0], batch[0])
    return batch, batch


def next_token_loss(model: nn.Module, batch: Any) -> Loss:
    """Cross-entropy of each next token in nats, summed over labels that aren't `IGNORED`."""
    ids, labels = ids_and_labels(batch)
    logits = logits_of(model(ids))[:, :-1].float()
    wanted = labels[:, 1:]
    total = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum")
    return Loss(total, (wanted != IGNORED).sum(), expected=float(wanted.numel()))


def class_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Loss:
    """Cross-entropy of classes (B,) in nats."""
    inputs, classes = batch
    return Loss(F.cross_entropy(logits_of(model(inputs)), classes, reduction="sum"), float(len(classes)))


def square_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Loss:
    """Squared error, a mean over all numbers of the target."""
    inputs, target = batch
    return Loss((logits_of(model(inputs)) - target).square().sum(), float(target.numel()))


@torch.no_grad()
def held_out_loss(model: nn.Module, batches: Any, loss: Any = next_token_loss) -> float:
    """Mean loss over batches, in evaluation mode; the mode comes back afterwards."""
    training = model.training
    model.eval()
    parts = [Loss.of(loss(model, batch)) for batch in batches]
    model.train(training)
    return sum(float(part.total) for part in parts) / max(1e-12, sum(float(part.count) for part in parts))
