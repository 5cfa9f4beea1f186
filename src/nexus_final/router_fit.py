"""Fitting a router: the head on frozen features, its temperature and threshold. What is each depth good for?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.core.base import BaseConfig, in_range, positive
from nexus_final.router import IntentHead
from nexus_final.router_metrics import best_threshold, macro_f1


@dataclass(frozen=True, kw_only=True)
class RouterSettings(BaseConfig):
    """How the router is trained.

    Attributes:
        depths: after which blocks to look, tried one by one; empty for three around the middle of the model.
        max_tokens: read of each text. train_per_intent, heldout_per_intent, test_per_intent: texts used at most.
        typo_share: of the training texts are learnt from with typing slips as well; as many test texts get slips, to
            see how often the answer flips.
        abstain: the intent that means "none of these"; no matter if the examples have none of that name.
        accuracy: of the answers that are to be given; sets the threshold below which it abstains.
    """

    depths: tuple[int, ...] = ()
    max_tokens: int = 48
    train_per_intent: int = 80
    heldout_per_intent: int = 30
    test_per_intent: int = 40
    typo_share: float = 0.25
    abstain: str = "unknown"
    accuracy: float = 0.95
    hidden: int = 128
    dropout: float = 0.5
    epochs: int = 50
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    seed: int = 0

    def faults(self) -> list[str]:
        """Ranges."""
        counts = "max_tokens train_per_intent heldout_per_intent test_per_intent hidden epochs batch_size learning_rate"
        found = positive(self, *counts.split())
        for name in ("typo_share", "accuracy"):
            found += in_range(self, name, 0, 1)
        return found + in_range(self, "dropout", 0, 1, open_high=True) + in_range(self, "weight_decay", 0)

    @classmethod
    def quick(cls, **changes: Any) -> Self:
        """A quarter of the texts."""
        small: dict[str, Any] = {"train_per_intent": 24, "heldout_per_intent": 10, "test_per_intent": 12}
        return cls(**{**small, **changes})


@dataclass(frozen=True)
class Tried:
    """A head trained on the states at one depth, fitted on `heldout`, with its figures there."""

    depth: int
    head: IntentHead
    temperature: float
    threshold: float
    row: dict[str, Any]


def usual_depths(n_layers: int) -> tuple[int, ...]:
    """A third, half and two thirds of the way up: below it is words yet, above it is about the next word."""
    return tuple(sorted({max(1, round(n_layers * share)) for share in (1 / 3, 1 / 2, 2 / 3)}))


def try_depth(
    features: Mapping[str, Tensor], targets: Mapping[str, Tensor], classes: int, depth: int, s: RouterSettings
) -> Tried:
    """Train on ``train`` and ``slips``, fit and measure on ``heldout``; features are (N, d_model), targets (N,)."""
    known = torch.cat((features["train"], features["slips"]))
    head = fit_head(known, torch.cat((targets["train"], targets["slips"])), classes, s)
    with torch.no_grad():
        logits = head(features["heldout"])
    truth = targets["heldout"]
    temperature = fit_temperature(logits, truth)
    log_probs = (logits / temperature).log_softmax(-1)
    confidence, said = log_probs.exp().max(-1)
    threshold = best_threshold(confidence.double().numpy(), (said == truth).numpy(), s.accuracy)
    f1 = macro_f1(truth.numpy(), said.numpy(), classes)
    row = {"depth": depth, "macro_f1": f1, "nll": F.nll_loss(log_probs, truth).item()}
    return Tried(depth, head, temperature, min(threshold, 1.0), row)


def fit_head(features: Tensor, targets: Tensor, classes: int, s: RouterSettings) -> IntentHead:
    """A head trained on features (N, inputs) and targets (N,), in evaluation mode. Same seed, same head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(s.seed)
        head = IntentHead(features.shape[1], s.hidden, classes, s.dropout)
        head.standardise_by(features)
        optimizer = torch.optim.AdamW(head.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay)
        steps = s.epochs * -(-len(features) // s.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(s.epochs):
            for batch in torch.randperm(len(features)).split(s.batch_size):
                loss = F.cross_entropy(head(features[batch]), targets[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return head.eval()


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature with the lowest loss of softmax(logits / T), on a fine grid (Guo et al. 2017, arXiv:1706.04599).

    Targets are softened as if one more text had gone wrong (Platt 1999): a few dozen right answers don't make certain.
    """
    grid = torch.logspace(-1, 1.3, 300)
    log_probs = (logits[None] / grid[:, None, None]).log_softmax(-1)  # (grid, N, classes)
    true = log_probs.gather(-1, targets.expand(len(grid), -1)[..., None]).squeeze(-1).mean(1)
    softness = 1 / (len(targets) + 2)
    return float(grid[((1 - softness) * true + softness * log_probs.mean((1, 2))).argmax()])
