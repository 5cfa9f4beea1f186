"""Direct preference optimisation: learn from pairs of answers, of which one is better. Paper: arXiv:2305.18290.

The one idea: a policy is its own reward model: ``r = beta log(pi / pi_ref)`` up to a constant of the prompt, so the
likelihood of the preferences is a loss of the policy alone (equation 7). The reference is the frozen start; with LoRA
it is the model without its change.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.training.accumulation import Loss
from nexus.training.lora import adapters, without_lora
from nexus.training.objectives import IGNORED, logits_of


def sequence_log_probs(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of each answer (B,): the sum over labels (B, T) that aren't `IGNORED`."""
    wanted = labels[:, 1:]
    log_probs = logits[:, :-1].float().log_softmax(-1)
    picked = log_probs.gather(-1, wanted.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return (picked * (wanted != IGNORED)).sum(-1)


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The loss of each pair (B,) from the log-probabilities (B,) of both answers under policy and reference.

    Args:
        beta: strength of the pull to the reference.
        label_smoothing: share of preferences that are thought to be wrong ("conservative DPO").
    """
    margin = beta * ((chosen - reference_chosen) - (rejected - reference_rejected))
    return -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)


@dataclass(frozen=True)
class DPO:
    """A loss for :class:`nexus.training.loop.Trainer`.

    Batches are mappings with ``chosen`` and ``rejected`` ids (B, T) and their ``chosen_labels``, ``rejected_labels``
    (`IGNORED` on the prompt and on padding).

    Args:
        reference: a frozen model, or None: the model itself without its LoRA changes.
    """

    reference: nn.Module | None = None
    beta: float = 0.1
    label_smoothing: float = 0.0

    def __call__(self, model: nn.Module, batch: Mapping[str, Any]) -> Loss:
        """Mean over the pairs.

        Raises:
            ValueError: there is no reference: neither given, nor LoRA to switch off.
        """
        ours = _pair(model, batch)
        with torch.no_grad(), self._as_reference(model):
            theirs = _pair(self.reference or model, batch)
        losses = dpo_loss(*ours, *theirs, self.beta, self.label_smoothing)
        return Loss(losses.sum(), float(len(losses)))

    def _as_reference(self, model: nn.Module) -> AbstractContextManager[None]:
        if self.reference is None and not any(True for _ in adapters(model)):
            raise ValueError(
                "reference: is missing, and the model has no LoRA to switch off; pass a frozen copy of the start"
            )
        return without_lora(model)


def _pair(model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Both answers in one pass: (B,) log-probabilities of the chosen and of the rejected ones."""
    ids = torch.cat((batch["chosen"], batch["rejected"]))
    labels = torch.cat((batch["chosen_labels"], batch["rejected_labels"]))
    chosen, rejected = sequence_log_probs(logits_of(model(ids)), labels).chunk(2)
    return chosen, rejected


def preference_accuracy(model: nn.Module, batch: Mapping[str, Any]) -> float:
    """Share of pairs in which the model finds the chosen answer likelier."""
    with torch.no_grad():
        chosen, rejected = _pair(model, batch)
    return float((chosen > rejected).float().mean())
