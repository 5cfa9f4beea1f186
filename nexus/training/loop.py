"""The training loop: any module, any iterable of batches, exact resume, and an auditor that watches.

The one idea: a step is a function of the run's state, and all of that state is in one checkpoint (weights, optimiser,
average, loss scale, generators, place in the data), so a run that is killed and taken up again gives the same numbers
to the last bit (on a CPU) as one that never stopped.

    trainer = Trainer(model, data, TrainingConfig(steps=100), folder="runs/first")
    history = trainer.run()
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nexus.core.files import kill_point
from nexus.training import activation_checkpointing
from nexus.training.accumulation import GradientAccumulation, Loss
from nexus.training.audit.watch import Auditor, Seen
from nexus.training.batches import SampleBatches, Stream, cut_rows, to_device
from nexus.training.callbacks import Callback, EarlyStopping, JSONLLogger, Row, TextLogger
from nexus.training.checkpoint import restore_rng, rng_state, seed_everything
from nexus.training.config import TrainingConfig
from nexus.training.control import RunControl
from nexus.training.data_parallel import distributed, exchange_only_if
from nexus.training.ema import moving_average
from nexus.training.guards import NanGuard, TrainingDiverged, Verdict
from nexus.training.objectives import next_token_loss
from nexus.training.optimizers import make_optimizer
from nexus.training.precision import MixedPrecision
from nexus.training.processes import current
from nexus.training.schedules import make_schedule
from nexus.training.store import Checkpoint, CheckpointStore

LOG = logging.getLogger("nexus.train")
LossFunction = Callable[[nn.Module, Any], Tensor | Loss]
Evaluation = Callable[[nn.Module], float | Mapping[str, float]]


class Trainer:
    """Trains ``model`` in place.

    Args:
        model: any `nn.Module`; it stays on its device.
        data: batches (a list of them, a `DataLoader`, any iterable), or single samples (a tensor (N, ...), a dataset),
            of which batches of ``config.batch_size`` are made.
        loss: of a model and a batch; see :mod:`nexus.training.objectives`.
        evaluate: of the model; the number it returns (or its ``"loss"``) is better when lower.
        folder: for checkpoints, logs and the auditor's record; without one nothing is written.
        optimizer, schedule: instead of those that the configuration names.
        control: stops, pauses and checkpoints from outside; entering it is the caller's.
        auditor: instead of one that looks every ``config.audit_every`` steps.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        config: TrainingConfig | Mapping[str, Any] | None = None,
        *,
        loss: LossFunction = next_token_loss,
        evaluate: Evaluation | None = None,
        folder: Path | str | None = None,
        callbacks: Sequence[Callback] = (),
        optimizer: Optimizer | None = None,
        schedule: Callable[[int], float] | None = None,
        control: RunControl | None = None,
        auditor: Auditor | None = None,
    ) -> None:
        self.config = c = config if isinstance(config, TrainingConfig) else TrainingConfig.from_dict(config or {})
        self.model, self.loss, self.evaluate = model, loss, evaluate
        self.folder = None if folder is None else Path(folder)
        self.control, self.processes = control or RunControl(), current()
        self.share = self.processes.replica(c.tensor)  # whose batches are ours
        self.device = next(model.parameters()).device
        if c.gradient_checkpointing:
            activation_checkpointing.enable(model)
        self.runner = self._engine(model)
        self.optimizer = optimizer or make_optimizer(c.optimizer, model, c.learning_rate, c.weight_decay)
        for group in self.optimizer.param_groups:
            group.setdefault("base_lr", group["lr"])
        self.schedule = schedule or make_schedule(c.schedule, c.steps, c.warmup_steps, c.min_rate)
        self.average = None if c.ema_decay is None else moving_average(model, c.ema_decay)
        self.precision = MixedPrecision(self.device, c.precision)
        agree = self.processes.mean if self.processes.world > 1 else None
        self.accumulation = GradientAccumulation(c.gradient_accumulation_steps, agree, self.precision.scale)
        self.numbers = NanGuard(max_roll_backs=0)
        self.stream = Stream(_batches(data, c, self.share.rank, self.share.world), self._prepared)
        self.store = None if self.folder is None else CheckpointStore(self.folder / "checkpoints", c.keep_last)
        self.auditor = auditor or Auditor(model, self.optimizer, every=c.audit_every, folder=self._own_folder())
        self.callbacks = self._listeners(callbacks)
        self.step, self.best, self.seconds = 0, float("inf"), 0.0
        self.history: list[dict[str, Any]] = []
        self._reason: str | None = None
        self._tokens, self._since = 0.0, time.perf_counter()

    def _engine(self, model: nn.Module) -> nn.Module:
        if self.config.compile:
            model.compile()
        if self.config.parallel == "ddp":
            return distributed(model)
        if self.config.parallel == "fsdp":
            from nexus.training.fsdp import FullyShardedDataParallel

            return FullyShardedDataParallel(model)
        if self.config.parallel == "tensor":
            from nexus.training.model_parallel import shared

            return shared(model, self.config.tensor)
        return model

    def _own_folder(self) -> Path | None:
        return self.folder if self.processes.first else None

    def _listeners(self, callbacks: Sequence[Callback]) -> list[Callback]:
        if not self.processes.first:
            return []
        own: list[Callback] = [TextLogger()]
        if self.folder is not None:
            own.append(JSONLLogger(self.folder / "metrics.jsonl"))
        if self.config.patience is not None:
            own.append(EarlyStopping(self.config.patience))
        return [*own, *callbacks]

    def _prepared(self, batch: Any) -> Any:
        return to_device(cut_rows(batch, self.config.max_seq_length), self.device)

    def stop(self, reason: str) -> None:
        """Leave after this step, as if it had been the last; callbacks call it."""
        self._reason = reason

    # ---- the run -----------------------------------------------------------------------------------------------------

    def run(self) -> list[dict[str, Any]]:
        """Train to the end, going on from the newest checkpoint of the folder; returns the history of rows.

        Raises:
            TrainingDiverged: several steps in a row had no finite loss; the message names where it began.
            Interrupted: asked to stop; the state is saved.
        """
        saved = self.store.latest() if self.store is not None else None
        if saved is None:
            seed_everything(self.config.seed)
        else:
            self._restore(saved)
            LOG.info("going on from step %d", self.step)
        try:
            self._tell("on_start", self)
            self._since = time.perf_counter()
            while self.step < self.config.steps and self._reason is None:
                self._one_step()
                self._after_step()
        finally:
            self._tell("on_end", self)
            self.auditor.close()
        return self.history

    def _one_step(self) -> None:
        self._set_rate()
        self.runner.train()
        with self.auditor.step(self.step + 1) as seen:
            self._accumulate(seen)
            mean = self.accumulation.finish(self.model.parameters())
            self.precision.unscale(self.optimizer)
            norm = self._clip()
            seen.loss, seen.grad_norm = torch.stack((mean.cpu(), norm.cpu())).tolist()  # one wait for the device
            self._update(seen)
            self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        kill_point("train.step")
        if self.step % self.config.log_every == 0 or self.step == self.config.steps:
            self._report(seen)

    def _accumulate(self, seen: Seen) -> None:
        parts = self.config.gradient_accumulation_steps
        for part in range(parts):
            started = time.perf_counter()
            batch = next(self.stream)
            seen.data_seconds += time.perf_counter() - started
            seen.batch = batch
            with exchange_only_if(self.runner, part == parts - 1):
                with self.precision.context():
                    loss = Loss.of(self.loss(self.runner, batch))
                self.accumulation.backward(loss)
            seen.tokens += float(loss.count if loss.expected is None else loss.expected)
        self._tokens += seen.tokens * self.share.world

    def _clip(self) -> Tensor:
        limit = self.config.max_grad_norm
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), float("inf") if limit is None else limit)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    def _update(self, seen: Seen) -> None:
        overflow = (
            self.precision.dtype == "float16" and seen.loss == seen.loss and self.precision.scaler.get_scale() > 1
        )
        finite_or_scaled = overflow or self.numbers.judge(seen.loss, seen.grad_norm) is Verdict.STEP
        if finite_or_scaled:
            self.precision.step(self.optimizer)
            if self.average is not None:
                self.average.update_parameters(self.model)
            return
        where = self.auditor.replay(lambda: self.loss(self.runner, seen.batch))
        LOG.warning("step %d has no finite loss or gradient: %s", self.step + 1, where)
        if self.numbers.in_a_row >= self.numbers.patience - 1:
            raise TrainingDiverged(
                f"learning_rate = {self.config.learning_rate}: {self.numbers.in_a_row + 1} steps "
                f"in a row without finite "
                f"numbers, up to step {self.step + 1}. It begins at {where}. cure: mend that place; failing that, a "
                "lower learning_rate, max_grad_norm, or dtype='bfloat16'"
            )

    def _after_step(self) -> None:
        c, last = self.config, self.step == self.config.steps or self._reason is not None
        best = False
        if self.evaluate is not None and c.evaluate_every and (last or self.step % c.evaluate_every == 0):
            best = self._evaluate()
            last = last or self._reason is not None
        asked = self.control.take_checkpoint_request() or self.control.stop_requested
        if last or asked or best or (c.save_every and self.step % c.save_every == 0):
            self.save(best)
        if self.control.stop_requested:
            self.control.raise_stop()

    def _set_rate(self) -> None:
        factor = self.schedule(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor

    def _report(self, seen: Seen) -> None:
        elapsed = time.perf_counter() - self._since
        row = {
            "step": self.step,
            "loss": seen.loss,
            "grad_norm": seen.grad_norm,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "tokens_per_second": self._tokens / max(elapsed, 1e-9),
        }
        self._tokens, self._since = 0.0, time.perf_counter()
        self.history.append(row)
        self._tell("on_step", self, row)

    def _evaluate(self) -> bool:
        assert self.evaluate is not None
        subject = self.runner if self.average is None else self.average
        with _used_weights(self.optimizer):
            self.model.eval()
            result = self.evaluate(subject)
        values = dict(result) if isinstance(result, Mapping) else {"loss": float(result)}
        best = values["loss"] < self.best
        self.best = min(self.best, values["loss"])
        row: Row = {"step": self.step, **{f"held_out_{key}": value for key, value in values.items()}, "best": best}
        self.history.append(dict(row))
        self._tell("on_evaluate", self, row)
        self.auditor.evaluated(self.step, values["loss"])
        self._since, self._tokens = time.perf_counter(), 0.0
        return best

    def _tell(self, hook: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(*arguments)

    # ---- checkpoints -------------------------------------------------------------------------------------------------

    def save(self, best: bool = False) -> Path | None:
        """Write a checkpoint now; returns its folder, or None without a folder to write to."""
        if self.store is None:
            return None
        weights, optimizer = self._weights_and_optimizer()
        state = {
            "optimizer": optimizer,
            "stream": self.stream.state_dict(),
            "rng": rng_state(),
            "precision": self.precision.state_dict(),
            "numbers": self.numbers.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "callbacks": [c.state_dict() if hasattr(c, "state_dict") else None for c in self.callbacks],
            "history": self.history,
            "best": self.best,
            "config": self.config.to_dict(),
        }
        folder = None
        if self.processes.first:
            folder = self.store.save(self.step, weights, state, best)
            self._tell("on_save", self, folder)
        self.processes.wait()
        return folder

    def _weights_and_optimizer(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if self.config.parallel == "fsdp":
            from nexus.training.fsdp import whole_state

            return whole_state(self.model, self.optimizer)
        if self.config.parallel == "tensor":
            from nexus.training import model_parallel

            return model_parallel.whole_state(self.model, self.optimizer)
        return self.model.state_dict(), self.optimizer.state_dict()

    def _restore(self, saved: Checkpoint) -> None:
        state = saved.state
        if self.config.parallel == "fsdp":
            from nexus.training.fsdp import load_whole_state

            load_whole_state(self.model, self.optimizer, saved.model, state["optimizer"])
        elif self.config.parallel == "tensor":
            from nexus.training import model_parallel

            model_parallel.load_whole_state(self.model, self.optimizer, saved.model, state["optimizer"])
        else:
            self.model.load_state_dict(saved.model)
            self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.precision.load_state_dict(state["precision"])
        self.numbers.load_state_dict(state["numbers"])
        for callback, held in zip(self.callbacks, state["callbacks"], strict=False):
            if held is not None and hasattr(callback, "load_state_dict"):
                callback.load_state_dict(held)
        self.step, self.best, self.history = saved.step, state["best"], state["history"]
        self.stream.load_state_dict(state["stream"])
        restore_rng(state["rng"])


class _used_weights:  # a context manager
    """Schedule-Free keeps two points: the one to look at is set for the length of the block."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer: Any = optimizer if hasattr(optimizer, "eval") else None

    def __enter__(self) -> None:
        if self._optimizer is not None:
            self._optimizer.eval()

    def __exit__(self, *_: object) -> None:
        if self._optimizer is not None:
            self._optimizer.train()


def _batches(data: Any, config: TrainingConfig, rank: int, world: int) -> Iterable[Any]:
    """Batches as they are; single samples (a tensor, a dataset with a length) in batches of our own."""
    single = isinstance(data, (Tensor, torch.utils.data.Dataset)) and hasattr(data, "__len__")
    return SampleBatches(data, config.batch_size, config.seed, rank, world) if single else data
