"""What a consolidation trains on: new lessons, earlier ones again, and text on which nothing may change.

The one idea: every step sees all three, so there is no phase in which only the new counts: that is where accuracy
would fall and recover (the stability gap, De Lange et al. 2023, arXiv:2205.13452). Of the release only its hidden
states are kept: the head is frozen and shared, so the divergence from it is exact and costs no second pass.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.core.state_space import HybridLM
from nexus.inference.release import Release
from nexus.living.exam import halfway, question, statement
from nexus.living.lessons import Lesson
from nexus.training.adapters import RowAdapters
from nexus.training.distillation import linear_cross_entropy
from nexus.training.objectives import IGNORED
from nexus.training.sft import answer_labels, pad

Row = tuple[list[int], list[int]]  # ids, and labels that are IGNORED where nothing is to be learnt


@dataclass(frozen=True)
class Sizes:
    """Rows of each kind in one step."""

    fresh: int
    earlier: int
    replay: int


class Material:
    """Batches without end, in an order that is a function of seed and epoch.

    Args:
        fresh, earlier: rows of the new lessons and of those of earlier versions.
        replay: (n, T) ids of text to stay the same on, and ``anchor`` (n, T, D), the release's hidden states.
        steps: batches of an epoch.
    """

    def __init__(
        self, fresh: list[Row], earlier: list[Row], replay: Tensor, anchor: Tensor, sizes: Sizes, steps: int, seed: int
    ) -> None:
        self.fresh, self.earlier, self.replay, self.anchor = fresh, earlier, replay, anchor
        self.sizes, self.steps, self.seed, self.epoch = sizes, steps, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        draw = random.Random(self.seed * 1_000_003 + self.epoch)
        fresh, earlier = _endless(self.fresh, draw), _endless(self.earlier, draw)
        places = _endless(range(len(self.replay)), draw)
        for _ in range(self.steps):
            rows = [next(fresh) for _ in range(self.sizes.fresh)]
            rows += [next(earlier) for _ in range(self.sizes.earlier if self.earlier else 0)]
            chosen = torch.tensor([next(places) for _ in range(self.sizes.replay)])
            ids, labels = pad([ids for ids, _ in rows], 0), pad([labels for _, labels in rows], IGNORED)
            yield {"ids": ids, "labels": labels, "replay": self.replay[chosen], "anchor": self.anchor[chosen]}


class ConsolidationLoss:
    """Cross-entropy of the lessons' answers, and ``kl_weight`` times KL(release || this version) on replayed text.

    The module that the trainer hands over is the adapter; the frozen model stays outside, so a checkpoint holds the
    adapter alone.
    """

    def __init__(self, model: HybridLM, rows: RowAdapters, kl_weight: float) -> None:
        self.model, self.rows, self.kl_weight = model, rows, kl_weight

    def __call__(self, adapter: Any, batch: dict[str, Tensor]) -> Tensor:
        """Mean over the lessons' tokens, and mean over the replayed ones."""
        head = self.model.lm_head
        with self.rows.using(adapter):
            taught = self._hidden(batch["ids"])
            labels = F.pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
            loss = linear_cross_entropy(taught, head.weight, labels)
            now = head(self._hidden(batch["replay"])).float().log_softmax(-1)
        before = head(batch["anchor"]).float().log_softmax(-1)
        kl = F.kl_div(now, before, reduction="none", log_target=True).sum(-1).mean()
        return loss + self.kl_weight * kl

    def _hidden(self, ids: Tensor) -> Tensor:
        hidden: Tensor = self.model.backbone(self.model.embed(ids))[0]
        return hidden


def rows_of(release: Release, lessons: Sequence[Lesson], longest: int) -> list[Row]:
    """Lessons as ids and labels, cut off after ``longest``.

    Of a statement the first half is read and the second learnt: which name comes next cannot be known.
    """
    rows = []
    for lesson in lessons:
        if lesson.prompt:
            asked = question(release, lesson.prompt, lesson.answer)
            rows.append(answer_labels(asked.prompt, asked.answer))
        else:
            ids, middle = statement(release, lesson.answer), halfway(release, lesson.answer)
            rows.append(answer_labels(ids[:middle], ids[middle:]))
    cut = [(ids[:longest], labels[:longest]) for ids, labels in rows]
    return [(ids, labels) for ids, labels in cut if any(label != IGNORED for label in labels[1:])]


@torch.no_grad()
def hidden_states(model: HybridLM, rows: RowAdapters, ids: Tensor, batch: int = 8) -> Tensor:
    """(n, T, D) of what the release, without any version, makes of ``ids`` (n, T)."""
    with rows.using(None):
        parts = [model.backbone(model.embed(part.to(model.device)))[0] for part in ids.split(batch)]
    return torch.cat(parts).cpu()


def _endless(items: Sequence[Any], draw: random.Random) -> Iterator[Any]:
    """All items in random order, again and again."""
    while True:
        yield from draw.sample(items, len(items))
