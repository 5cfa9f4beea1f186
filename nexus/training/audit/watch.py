"""The auditor beside a running loop: cheap numbers at every step, a full look at some.

The one idea: a full look makes a step up to half as long again, so it is taken seldom (steps 1, 2, 4, ..., every 50th),
and between looks nothing is attached to the model. It works in any loop:

    audit = Auditor(model, optimizer)
    for batch in audit.loading(batches):
        with audit.step() as seen:
            seen.loss = loss_of(model, batch)
            seen.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    print(*audit.findings(), sep="\\n")

Under `torch.compile` a look runs the step eagerly, so that hooks are heard; under FSDP norms are those of whole
tensors.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nexus.training.audit.activations import Watcher
from nexus.training.audit.memory import allocated_megabytes, resident_megabytes
from nexus.training.audit.probes import first_look
from nexus.training.audit.record import RECORD, Record, storable
from nexus.training.audit.replay import Origin, find_origin
from nexus.training.audit.weights import WeightLook, stale_gradients

if TYPE_CHECKING:
    from nexus.training.audit.findings import Finding

_KEEP = ("step", "loss", "grad_norm", "rate", "seconds", "data_seconds")


@dataclass
class Seen:
    """What the loop tells of a step: ``loss`` always, the rest if it knows. ``replay`` computes the loss again."""

    step: int
    loss: Any = math.nan
    grad_norm: Any = math.nan
    data_seconds: float = 0.0
    tokens: float = 0.0
    batch: Any = None
    replay: Callable[[], Any] | None = None


class Auditor:
    """Watches the training of a model.

    Args:
        optimizer: whose steps are watched; None looks at gradients only.
        every: steps between full looks (and steps 1, 2, 4, ... below it); 0 is off, and costs nothing.
        folder: where `audit.jsonl` is written; None keeps the record in memory only.
        causal: whether the model must not see the future; the first look then tries. None: not tried.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        every: int = 50,
        folder: Path | str | None = None,
        causal: bool | None = None,
    ) -> None:
        if every < 0:
            raise ValueError(f"every={every}: is negative; give steps between looks, or 0 for none")
        self.model, self.optimizer, self.every, self.causal = model, optimizer, every, causal
        self.record = Record()
        self.origin: Origin | None = None
        self._file = None if folder is None or not every else Path(folder) / RECORD
        self._written = (0, 0, 0, False)  # steps, readings, evaluations, facts
        self._count, self._waited = 0, 0.0
        self._seen: Seen | None = None
        self._look: WeightLook | None = None
        self._rng: Tensor | None = None
        self._watching: contextlib.ExitStack | None = None
        self._hooks = [] if optimizer is None or not every else self._listen(optimizer)

    def _listen(self, optimizer: Optimizer) -> list[Any]:
        return [
            optimizer.register_step_pre_hook(lambda *_: self._before_update()),
            optimizer.register_step_post_hook(lambda *_: self._after_update()),
        ]

    def looks_at(self, step: int) -> bool:
        """Whether this step (from 1) gets a full look."""
        return bool(self.every) and (step % self.every == 0 or (step < self.every and step & (step - 1) == 0))

    def loading(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches, with the time that each is waited for taken down."""
        source = iter(batches)
        while True:
            started = time.perf_counter()
            batch = next(source, _END)
            self._waited = time.perf_counter() - started
            if batch is _END:
                return
            yield batch

    @contextlib.contextmanager
    def step(self, number: int | None = None) -> Iterator[Seen]:
        """Around forward, backward and update of one step; yields where the loop tells what it saw."""
        self._count = self._count + 1 if number is None else number
        seen = self._seen = Seen(self._count)
        if not self.every:
            yield seen
            return
        seen.data_seconds, self._waited = self._waited, 0.0
        waited = seen.data_seconds  # outside of the block; what the block itself adds is inside
        self._rng = torch.get_rng_state()
        reading: dict[str, Any] | None = None
        if self.looks_at(seen.step):
            reading = self._begin()
        started = time.perf_counter()
        try:
            yield seen
            self._end(seen, reading, time.perf_counter() - started + waited)
        finally:
            self._stop_watching()
            self._look = None

    def _begin(self) -> dict[str, Any]:
        parameters = dict(self.model.named_parameters())
        reading: dict[str, Any] = {"stale": stale_gradients(parameters.values())}
        self._watching = contextlib.ExitStack()
        self._watching.enter_context(torch.compiler.set_stance("force_eager"))
        self._watcher = self._watching.enter_context(Watcher(self.model))
        self._look = WeightLook(parameters, self.optimizer)
        return reading

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.close()
            self._watching = None

    def _before_update(self) -> None:
        self._stop_watching()
        if self._look is not None:
            self._look.before()
        seen = self._seen
        if seen is not None and seen.replay is not None and self.origin is None and not self._finite(seen):
            self.replay(seen.replay)

    @staticmethod
    def _finite(seen: Seen) -> bool:
        norm = float(seen.grad_norm)
        return math.isfinite(float(seen.loss)) and (math.isnan(norm) or math.isfinite(norm))

    def _after_update(self) -> None:
        if self._look is not None:
            self._look.after()

    def _end(self, seen: Seen, reading: dict[str, Any] | None, seconds: float) -> None:
        self._stop_watching()
        loss, norm = float(seen.loss), float(seen.grad_norm)
        row = {"step": float(seen.step), "loss": loss, "seconds": seconds, "data_seconds": seen.data_seconds}
        if not math.isnan(norm):
            row["grad_norm"] = norm
        if self.optimizer is not None:
            row["rate"] = float(self.optimizer.param_groups[0]["lr"])
        self.record.steps.append(row)
        if reading is None:
            return
        assert self._look is not None
        reading |= {"step": seen.step, "loss": loss, "seconds": seconds}
        reading |= {"allocated": allocated_megabytes(), "rss": resident_megabytes()}
        reading |= self._look.result() | self._watcher.result()
        if not self.record.facts:
            self.record.facts = first_look(self.model, self._watcher, loss, bool(self.causal))
            self.record.facts["optimizer"] = type(self.optimizer).__name__ if self.optimizer else "none"
        reading |= self._watcher.compare_losses(loss)
        self.record.readings.append(reading)
        self._write()

    def replay(self, closure: Callable[[], Any]) -> Origin:
        """Compute the failing step again and say where the first number that isn't finite came from.

        Args:
            closure: returns the loss (a scalar, or `Loss`) from the same weights and batch; backward is done here.
        """
        from nexus.training.accumulation import Loss

        with _generators(self._rng):
            self.origin = find_origin(self.model, lambda: Loss.of(closure()).total)
        self.record.facts["origin"] = self.origin.to_dict()
        return self.origin

    def evaluated(self, step: int, loss: float) -> None:
        """Take down an evaluation on held-out data, unless switched off."""
        if self.every:
            self.record.held_out.append((step, float(loss)))

    def findings(self) -> list[Finding]:
        """The diagnosis so far, the most likely cause first; empty for a healthy run."""
        from nexus.training.audit.diagnosis import diagnose

        return diagnose(self.record)

    def close(self) -> None:
        """Write what is left and let go of the optimiser."""
        if self.every:
            self._write()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _write(self) -> None:
        if self._file is None:
            return
        record, (steps, readings, held_out, _) = self.record, self._written
        rows: list[dict[str, Any]] = [{"kind": "facts", **record.facts}]
        fresh = record.steps[steps:]
        rows.append({"kind": "steps", **{name: [step.get(name) for step in fresh] for name in _KEEP}})
        rows += [{"kind": "reading", **reading} for reading in record.readings[readings:]]
        rows += [{"kind": "held_out", "step": s, "loss": loss} for s, loss in record.held_out[held_out:]]
        self._written = (len(record.steps), len(record.readings), len(record.held_out), True)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with open(self._file, "a", encoding="utf-8") as handle:
            handle.writelines(json.dumps(storable(row)) + "\n" for row in rows)


@contextlib.contextmanager
def _generators(state: Tensor | None) -> Iterator[None]:
    """Torch's generator as it was when the step began; what it is now comes back."""
    now = torch.get_rng_state()
    if state is not None:
        torch.set_rng_state(state)
    try:
        yield
    finally:
        torch.set_rng_state(now)


_END = object()
