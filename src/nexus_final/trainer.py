"""Distil the teacher into a student, end to end, one set of weights for the window widths it is given.

The one idea: every step takes one of the widths in turn, so the state-space paths learn to carry what the window leaves
out, and the held-out loss then says how narrow the released window may be. A student without any window learns apart:
in turn with the others it got worse, not better (measured, see dev/LOG.md). The teacher speaks from the librarian's
cache; it isn't in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nexus.core.files import kill_point
from nexus.core.state_space import HybridLM
from nexus.inference.quality import perplexity
from nexus.layers.ssm import Mamba2, WindowedMamba2
from nexus.training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from nexus.training.control import RunControl
from nexus.training.distillation import next_token_labels, sparse_kl
from nexus.training.guards import NanGuard, ThermalGuard, TrainingDiverged, Verdict
from nexus.training.oom import OomGuard
from nexus.training.precision import Precision, mixed_precision
from nexus.training.sparse_targets import SparseTargets

LOG = logging.getLogger("nexus_final.trainer")


class Lessons(Protocol):
    """The cached teacher: texts with its distribution at every position (:class:`nexus_final.librarian.Librarian`)."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[Tensor, SparseTargets]:
        """Ids (1, T) and targets of shape (1, T) of one text."""


@dataclass(frozen=True)
class TrainSettings:
    """How the student learns.

    Attributes:
        steps, batch_size: optimiser steps, texts in each.
        mixer_rate, rest_rate: learning rates of the new state-space paths, and of what came from the teacher.
        ce_weight: share of the text's own next token beside the teacher's distribution.
        precision: of matrix products in the student; the loss is taken in float32.
        widths: window widths in the order they take turns; (0,) for a student without windows.
        eval_every, save_every: steps between looks at the held-out text (the first one is before any step, unless only
            the end is looked at), and between checkpoints.
    """

    steps: int
    batch_size: int = 1
    mixer_rate: float = 1.5e-4
    rest_rate: float = 3e-5
    ce_weight: float = 0.25
    widths: tuple[int, ...] = (16, 64, 16, 128)
    warm_up: int = 20
    floor: float = 0.05
    max_grad_norm: float = 1.0
    precision: Precision = "auto"
    seed: int = 0
    eval_every: int = 50
    save_every: int = 50


class NexusTrainer:
    """Train ``student`` on ``lessons``; exact resume from ``checkpoint``.

    Args:
        student: changed in place; its embedding stays as it is (it is the teacher's, and shared with the head).
        held_out: (n, T) ids to look at now and then; never trained on.
        checkpoint: file for the running state; the caller owns the folder.
        part: name of what is trained; a checkpoint of another part is not gone on from.
    """

    def __init__(
        self,
        student: HybridLM,
        lessons: Lessons,
        held_out: Tensor,
        checkpoint: Path,
        settings: TrainSettings,
        control: RunControl | None = None,
        progress: Callable[[int, str], None] = lambda step, note: None,
        on_checkpoint: Callable[[int, Path, str], None] = lambda step, path, digest: None,
        part: str = "student",
    ) -> None:
        self.part = part
        self.student, self.lessons, self.held_out, self.checkpoint = student, lessons, held_out, checkpoint
        self.settings, self.control = settings, control or RunControl()
        self.progress, self.on_checkpoint = progress, on_checkpoint
        self.student.embed.weight.requires_grad_(False)
        self.optimiser = _optimiser(student, settings)
        self.memory, self.numbers, self.heat = OomGuard(), NanGuard(), ThermalGuard(self.control)
        self.step = 0
        self.history: list[dict[str, float]] = []

    def run(self) -> list[dict[str, float]]:
        """Train to the end; returns the history (one row a logged step).

        Raises:
            Interrupted: asked to stop; the state is saved.
        """
        if (saved := self._saved()) is not None:
            self._restore(saved)
        if self.step == 0 and self.settings.eval_every < self.settings.steps:
            self._look()
        while self.step < self.settings.steps:
            self.heat.check()
            self._one_step()
            last = self.step == self.settings.steps
            if last or self.step % self.settings.eval_every == 0:
                self._look()
            asked = self.control.take_checkpoint_request()
            if last or asked or self.step % self.settings.save_every == 0:
                self._save()
            if self.control.stop_requested:
                self._save()
                self.control.raise_stop()
        return self.history

    def _one_step(self) -> None:
        s = self.settings
        width = s.widths[self.step % len(s.widths)]
        self.student.set_window(width)
        self.student.train()
        self._set_rates()
        losses: list[float] = []

        def piece(indices: Sequence[int], weight: float) -> None:
            loss = self._loss(indices)
            (loss * weight).backward()
            losses.append(float(loss.detach()) * weight)

        def reset() -> None:
            losses.clear()
            self.optimiser.zero_grad(set_to_none=True)

        self.memory.run(self._order(), piece, reset=reset)
        norm = float(nn.utils.clip_grad_norm_(self.student.parameters(), s.max_grad_norm))
        verdict = self.numbers.judge(sum(losses), norm)
        if verdict is Verdict.ROLL_BACK:
            self._roll_back()
            return
        if verdict is Verdict.STEP:
            self.optimiser.step()
        self.step += 1
        kill_point("train.step")
        self._note(sum(losses), norm, width)

    def _roll_back(self) -> None:
        if (saved := self._saved()) is None:
            raise TrainingDiverged(
                "mixer_rate: the loss left the finite numbers in the first steps; cure: a lower rate"
            )
        self._restore(saved)
        self.numbers.rolled_back()

    def _note(self, loss: float, norm: float, width: int) -> None:
        self.history.append({"step": self.step, "loss": loss, "grad_norm": norm, "window": width})
        LOG.info("step=%d loss=%.4f grad_norm=%.3f window=%d", self.step, loss, norm, width)
        self.progress(self.step, f"loss {loss:.3f} (window {width})")

    def _loss(self, indices: Sequence[int]) -> Tensor:
        """Mean loss over the texts' positions; the last position has no next token."""
        texts, targets = zip(*(self.lessons.read(i) for i in indices), strict=True)
        ids = torch.cat(texts).to(self.student.device)
        with mixed_precision(ids.device, self.settings.precision):
            hidden, _ = self.student.backbone(self.student.embed(ids))
        labels = next_token_labels(ids)
        joined = SparseTargets(*(torch.cat(parts) for parts in zip(*(_fields(t) for t in targets), strict=True)))
        joined = joined.map(lambda t: t.to(hidden.device))
        head = self.student.lm_head.weight
        return sparse_kl(hidden, head, joined, labels, ce_weight=self.settings.ce_weight)

    def _order(self) -> list[int]:
        """The texts of this step: each epoch is its own shuffle, a function of seed and epoch only."""
        count, size = len(self.lessons), self.settings.batch_size
        indices = range(self.step * size, (self.step + 1) * size)
        return [_shuffle(count, self.settings.seed, i // count)[i % count] for i in indices]

    def _set_rates(self) -> None:
        s = self.settings
        factor = min(1.0, (self.step + 1) / s.warm_up) * max(s.floor, 1 - self.step / s.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * factor

    def _look(self) -> None:
        """Held-out perplexity for each width."""
        self.student.eval()
        row: dict[str, float] = {"step": self.step}
        for width in sorted(set(self.settings.widths)):
            self.student.set_window(width)
            with mixed_precision(self.student.device, self.settings.precision):
                row[f"ppl_window_{width}"] = perplexity(self.student, self.held_out)
        self.history.append(row)
        LOG.info("held-out %s", " ".join(f"{key}={value:.3f}" for key, value in row.items()))

    def _saved(self) -> dict[str, Any] | None:
        """The last checkpoint of this part, if there is one."""
        if not has_checkpoint(self.checkpoint):
            return None
        saved = load_checkpoint(self.checkpoint)
        return saved if saved["part"] == self.part else None

    def _save(self) -> None:
        payload: dict[str, Any] = {
            "part": self.part,
            "step": self.step,
            "model": {name: t for name, t in self.student.state_dict().items() if not _shared(name)},
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
            "guards": {"numbers": self.numbers.state_dict(), "memory": self.memory.state_dict()},
        }
        self.on_checkpoint(self.step, self.checkpoint, save_checkpoint(self.checkpoint, payload))

    def _restore(self, payload: dict[str, Any]) -> None:
        self.student.load_state_dict(payload["model"], strict=False)
        self.optimiser.load_state_dict(payload["optimiser"])
        self.step, self.history = payload["step"], payload["history"]
        self.memory.load_state_dict(payload["guards"]["memory"])
        if self.numbers.roll_backs == 0:  # a roll-back must not restore its own counters
            self.numbers.load_state_dict(payload["guards"]["numbers"])


def _optimiser(student: HybridLM, settings: TrainSettings) -> torch.optim.Optimizer:
    new = [m for m in student.modules() if isinstance(m, Mamba2)]
    gains = [
        p
        for m in student.modules()
        if isinstance(m, WindowedMamba2) and m.choices
        for p in (m.mamba_gain, m.attention_gain)
    ]
    fresh = [*gains, *(p for m in new for p in m.parameters())]
    known = {id(p) for p in fresh}
    rest = [p for p in student.parameters() if id(p) not in known and p.requires_grad]
    groups = [
        {"params": fresh, "base": settings.mixer_rate, "lr": settings.mixer_rate},
        {"params": rest, "base": settings.rest_rate, "lr": settings.rest_rate},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0, fused=True)


def _shuffle(count: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(count, generator=generator).tolist()


def _fields(targets: SparseTargets) -> tuple[Tensor, ...]:
    t = targets
    return t.head_ids, t.head_probs, t.tail_ids, t.residual, t.entropy


def _shared(name: str) -> bool:
    """The embedding doesn't learn, so checkpoints leave it out."""
    return name in ("embed.weight", "lm_head.weight")
