"""Steps a second of the Trainer beside a loop written by hand, transformers' Trainer and Lightning.

    python benchmarks/trainer.py [--steps 60] [--rounds 3]

All take turns within one process; the clock is the process's own CPU time on one thread. All clip, step AdamW and
follow a cosine; the Trainer's auditor is on at its default interval. Lightning takes part where it is installed.
Target: at least 0.97 of the hand-written loop.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from nexus.training.callbacks import Callback
from nexus.training.config import TrainingConfig
from nexus.training.loop import Trainer
from nexus.training.objectives import next_token_loss

RESULTS = Path(__file__).parent / "results" / "trainer.json"
RATE, BATCH, LENGTH, VOCABULARY = 1e-3, 8, 64, 1024


def model() -> nn.Module:
    """A Llama of two layers: a transformers model, so that its own trainer is at home."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=384, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation="sdpa",
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


def batches(steps: int) -> list[Tensor]:
    """The same for all three."""
    return list(torch.randint(VOCABULARY, (steps, BATCH, LENGTH), generator=torch.Generator().manual_seed(1)))


def by_hand(steps: int) -> float:
    """The loop that everybody writes; returns seconds after the first step."""
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.95), fused=True)
    started = 0.0
    for step, ids in enumerate(batches(steps)):
        if step == 1:
            started = time.process_time()
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        net.train()
        loss = next_token_loss(net, ids).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            loss.item()
    return time.process_time() - started


class _Clock(Callback):
    def __init__(self) -> None:
        self.started = 0.0

    def on_step(self, trainer: Trainer, row: Any) -> None:
        if trainer.step == 1:
            self.started = time.process_time()


def ours(steps: int, audit_every: int = 50) -> float:
    """The Trainer, with its auditor."""
    clock = _Clock()
    config = TrainingConfig(steps=steps, learning_rate=RATE, audit_every=audit_every, log_every=1, weight_decay=0.0)
    trainer = Trainer(model(), batches(steps), config, callbacks=[clock])
    trainer.run()
    return time.process_time() - clock.started


def transformers_trainer(steps: int) -> float:
    """transformers' Trainer with the same model and batches, and the loss that is its model's own."""

    class Clock(transformers.TrainerCallback):
        started = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 1:
                Clock.started = time.process_time()

    data = [{"input_ids": row, "labels": row} for ids in batches(steps) for row in ids]
    with tempfile.TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            folder, max_steps=steps, learning_rate=RATE, per_device_train_batch_size=BATCH, max_grad_norm=1.0,
            logging_steps=10, save_strategy="no", report_to=[], use_cpu=True, lr_scheduler_type="cosine",
            disable_tqdm=True, weight_decay=0.0,
        )  # fmt: skip
        transformers.Trainer(model(), settings, train_dataset=data, callbacks=[Clock()]).train()
    return time.process_time() - Clock.started


def lightning_trainer(steps: int) -> float:
    """Lightning's Trainer with the same model, batches, loss, optimiser and schedule."""
    lightning = importlib.import_module("lightning")
    started = 0.0

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = model()

        def training_step(self, ids: Tensor, index: int) -> Tensor:
            loss = next_token_loss(self.net, ids).mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(
                self.net.parameters(), lr=RATE, betas=(0.9, 0.95), fused=True, weight_decay=0.0
            )
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    class Clock(lightning.Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            nonlocal started
            if trainer.global_step == 1:
                started = time.process_time()

    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, gradient_clip_val=1.0, log_every_n_steps=10,
            callbacks=[Clock()],
        )  # fmt: skip
        trainer.fit(Module(), torch.utils.data.DataLoader(batches(steps), batch_size=None))
    return time.process_time() - started


def main() -> None:
    """Print a table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    runs: dict[str, Callable[[int], float]] = {
        "by hand": by_hand,
        "Trainer": ours,
        "Trainer, auditor off": lambda steps: ours(steps, audit_every=0),
        "transformers": transformers_trainer,
    }
    if importlib.util.find_spec("lightning") is not None:
        runs["lightning"] = lightning_trainer
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            seconds[name].append(run(options.steps))
    table = {}
    for name, values in seconds.items():
        speed = statistics.median(hand / value for hand, value in zip(seconds["by hand"], values, strict=True))
        table[name] = {"ms a step": statistics.median(values) / (options.steps - 1) * 1e3, "speed to by hand": speed}
        print(f"{name:22} {table[name]['ms a step']:8.2f} ms a step   {speed:.3f} of the loop by hand", flush=True)
    print("target: Trainer at least 0.97")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
