"""What a bare loop, transformers' Trainer and Lightning say of the planted faults, in all three architectures.

A peer "reports" a fault if it raises, or warns or logs a warning that its healthy run does not. The numbers that it
logs (a loss that is NaN, a norm of 0) are for the person to read and don't count, for any of them.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from planted_runs import FAULTS, Language, Run, faulty, train
from torch import Tensor, nn

OWN_LOOP = {
    "zero_grad missing",
    "model.eval() left on",
    "losses kept with graphs",
}  # slips that need a loop of one's own


class Messages(logging.Handler):
    """Warnings and errors of a run, with numbers taken out so that two runs can be compared."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.add(record.getMessage())

    def add(self, text: str) -> None:
        """Take one message."""
        self.texts.add("".join("#" if c.isdigit() else c for c in text)[:160])


def heard(body: Callable[[], Any]) -> set[str]:
    """What a run says: warnings, log records from warning on, and the exception it ends with."""
    messages = Messages()
    loggers = [logging.getLogger(name) for name in ("", "transformers", "lightning", "lightning.pytorch")]
    for logger in loggers:
        logger.addHandler(messages)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                body()
            except Exception as error:  # whatever it is, it was reported
                messages.add(f"{type(error).__name__}: {error}")
        for warning in caught:
            messages.add(str(warning.message))
    finally:
        for logger in loggers:
            logger.removeHandler(messages)
    return messages.texts


def bare(run: Run) -> None:
    """The loop without an auditor."""
    train(run, None)


def with_transformers(run: Run) -> None:
    """The same model, batches, loss and rate under transformers' Trainer."""
    import transformers

    class Batches(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            return ({"inputs": batch} for batch in run.batches())

    class Trainer(transformers.Trainer):
        def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False, **_: Any) -> Tensor:
            return run.loss(model, inputs["inputs"])

    with tempfile.TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            folder, max_steps=run.steps, learning_rate=run.rate, weight_decay=run.decay, per_device_train_batch_size=1,
            max_grad_norm=0.0 if math.isinf(run.clip) else run.clip, logging_steps=1, save_strategy="no", report_to=[],
            use_cpu=True, remove_unused_columns=False, lr_scheduler_type="constant", disable_tqdm=True,
            seed=run.seed,
        )  # fmt: skip
        optimizer = run.optimizer(run.parameters(run.model), lr=run.rate, weight_decay=run.decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: run.schedule(step, run.steps))
        trainer = Trainer(
            run.model, settings, train_dataset=Batches(), data_collator=lambda items: items[0],
            optimizers=(optimizer, schedule),
        )  # fmt: skip
        trainer.train()


def with_lightning(run: Run) -> None:
    """The same under Lightning, with its anomaly detection on."""
    import importlib

    lightning = importlib.import_module("lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = run.model

        def training_step(self, batch: Any, index: int) -> Tensor:
            loss = run.loss(self.net, batch)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = run.optimizer(run.parameters(run.model), lr=run.rate, weight_decay=run.decay)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: run.schedule(step, run.steps))
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    class Batches(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return run.batches()

    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_steps=run.steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, detect_anomaly=True,
            gradient_clip_val=None if math.isinf(run.clip) else run.clip,
        )  # fmt: skip
        trainer.fit(Module(), torch.utils.data.DataLoader(Batches(), batch_size=None))


def compare(chosen: list[str], names: list[str], bodies: list[str], seed: int) -> dict[str, Any]:
    """For each chosen peer (or all) how many runs it got; for each fault that it reported, in which bodies and how."""
    peers: dict[str, Callable[[Run], None]] = {"bare loop": bare, "transformers": with_transformers}
    if importlib.util.find_spec("lightning") is not None:
        peers["lightning"] = with_lightning
    table: dict[str, Any] = {}
    for peer in chosen or peers:
        run = peers[peer]
        tried = [name for name in names if peer == "bare loop" or name not in OWN_LOOP]
        told: dict[str, dict[str, list[str]]] = {}
        for body in bodies:
            usual = heard(lambda run=run, body=body: run(_healthy(body, seed)))
            for name in tried:
                said = heard(lambda run=run, name=name, body=body: run(faulty(name, body, seed))) - usual
                if said:
                    told.setdefault(name, {})[body] = sorted(said)
        runs, count = len(tried) * len(bodies), sum(len(found) for found in told.values())
        print(f"{peer}: reported {count} of {runs} faulty runs", flush=True)
        for name, found in told.items():
            print(f"  {name:30} {', '.join(found)}: {next(iter(found.values()))[0][:110]}", flush=True)
        table[peer] = {"runs": runs, "reported": count, "told": told}
    return table


def _healthy(body: str, seed: int) -> Run:
    torch.manual_seed(seed)
    return Run(Language(body), seed)


assert set(FAULTS) > OWN_LOOP
