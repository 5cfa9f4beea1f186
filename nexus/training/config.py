"""How a model is trained: the configuration of :class:`nexus.training.loop.Trainer`.

The one idea: everything that changes the numbers of a run stands here, so a run is its configuration, its data and its
seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nexus.core.config import BaseConfig, choice, fault, in_range, positive
from nexus.training.optimizers import OPTIMIZERS
from nexus.training.schedules import SCHEDULES

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Parallel = Literal["none", "ddp", "fsdp", "tensor"]
BY_NUMBER = ("sgd", "adamw", "lion")  # optimisers that treat each number by itself, so that shares can be stepped


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(BaseConfig):
    """Settings of a run.

    Attributes:
        steps: optimiser steps.
        learning_rate, optimizer, weight_decay: of :func:`nexus.training.optimizers.make_optimizer`.
        schedule, warmup_steps, min_rate: of :func:`nexus.training.schedules.make_schedule`; ``min_rate`` is a share of
            ``learning_rate``.
        batch_size: samples at once, where the data comes as single samples.
        gradient_accumulation_steps: batches for each optimiser step; the mean is over all of their tokens.
        max_seq_length: longer rows of token ids are cut off here.
        max_grad_norm: gradients are scaled down to this norm; None leaves them.
        dtype: of matrix products ("auto": bfloat16 where the hardware is fast at it); weights stay as they are.
        fp16: short for ``dtype="float16"``, with a loss scale that adapts.
        gradient_checkpointing: recompute activations in backward instead of keeping them.
        compile: compile the model.
        ema_decay: keep a moving average of the weights, which evaluation and the best checkpoint use.
        evaluate_every, save_every, log_every: steps between; 0 is never (a run with a folder saves at its end).
        keep_last: checkpoints kept, beside the best one.
        patience: stop after so many evaluations without a better one; None never does.
        audit_every: steps between two looks of the auditor; 0 switches it off.
        parallel: how the processes of ``torchrun`` share the work ("tensor": neighbours share each layer).
        tensor: so many share a layer, for ``parallel="tensor"``; processes beyond that are replicas under FSDP2.
        seed: of the data's order, and of the generators at the start.
    """

    steps: int = 1000
    learning_rate: float = 3e-4
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    schedule: str = "cosine"
    warmup_steps: int = 0
    min_rate: float = 0.0
    batch_size: int = 8
    gradient_accumulation_steps: int = 1
    max_seq_length: int = 1024
    max_grad_norm: float | None = 1.0
    dtype: Dtype = "float32"
    fp16: bool = False
    gradient_checkpointing: bool = False
    compile: bool = False
    ema_decay: float | None = None
    evaluate_every: int = 0
    save_every: int = 0
    log_every: int = 10
    keep_last: int = 2
    patience: int | None = None
    audit_every: int = 50
    parallel: Parallel = "none"
    tensor: int = 1
    seed: int = 0

    def faults(self) -> list[str]:
        found = [
            *positive(self, "learning_rate", "steps", "batch_size", "gradient_accumulation_steps", "max_seq_length"),
            *positive(self, "max_grad_norm", "keep_last", "patience", "log_every", "tensor"),
            *choice(self, "optimizer", tuple(OPTIMIZERS)),
            *choice(self, "schedule", tuple(SCHEDULES)),
            *in_range(self, "weight_decay", 0.0),
            *in_range(self, "min_rate", 0.0, 1.0),
            *in_range(self, "ema_decay", 0.0, 1.0, open_high=True),
        ]
        for name in ("warmup_steps", "evaluate_every", "save_every", "audit_every"):
            found += in_range(self, name, 0)
        if self.warmup_steps > self.steps:
            found.append(fault("warmup_steps", self.warmup_steps, f"is above steps = {self.steps}", "warm up shorter"))
        if self.fp16 and self.dtype not in ("float32", "float16"):
            found.append(fault("fp16", True, f"contradicts dtype = {self.dtype!r}", "set one of the two"))
        if self.patience is not None and not self.evaluate_every:
            found.append(fault("patience", self.patience, "needs evaluations", "set evaluate_every"))
        return [*found, *self._parallel_faults()]

    def _parallel_faults(self) -> list[str]:
        found = []
        if (self.parallel == "tensor") != (self.tensor > 1):
            cure = "set parallel = 'tensor' and tensor = 2 or more, or neither"
            found.append(fault("tensor", self.tensor, f"does not go with parallel = {self.parallel!r}", cure))
        if self.parallel != "tensor":
            return found
        if self.compile:
            found.append(fault("compile", True, "cannot trace layers on shares", "leave it out with parallel='tensor'"))
        if self.ema_decay is not None:
            found.append(fault("ema_decay", self.ema_decay, "is not kept of shares", "leave it out"))
        if self.optimizer in OPTIMIZERS and self.optimizer not in BY_NUMBER:
            cure = f"with parallel='tensor' use one of {', '.join(BY_NUMBER)}"
            found.append(fault("optimizer", self.optimizer, "looks at whole matrices", cure))
        return found

    @property
    def precision(self) -> Dtype:
        """Of matrix products, from ``dtype`` and ``fp16``."""
        return "float16" if self.fp16 else self.dtype

    @classmethod
    def tiny(cls) -> TrainingConfig:
        """Ten steps, for tests and examples."""
        return cls(steps=10, learning_rate=3e-3, batch_size=4, log_every=5)
