"""The trainer: a hand-written loop's numbers, exact resume, accumulation, and what it says when things go wrong."""

import json
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.training.callbacks import Callback
from nexus.training.config import TrainingConfig
from nexus.training.control import Interrupted, RunControl
from nexus.training.guards import TrainingDiverged
from nexus.training.loop import Trainer
from nexus.training.objectives import class_loss, held_out_loss
from nexus.training.plain import same

IDS = torch.randint(97, (24, 12), generator=torch.Generator().manual_seed(3))


def model(**changes):
    torch.manual_seed(0)
    return HybridLM(HybridConfig.tiny(plan="A", n_layers=1, d_model=16, d_ff=16, **changes))


def small(dropout=0.3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))


def classes():
    draw = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(40, 6, generator=draw), torch.randint(3, (40,), generator=draw))


def config(**changes):
    return TrainingConfig(**{"steps": 8, "learning_rate": 1e-2, "batch_size": 4, "log_every": 1, **changes})


def test_it_takes_the_steps_of_a_plain_loop():
    ours, theirs = model(), model()
    settings = config(schedule="constant", max_grad_norm=None, weight_decay=0.0, audit_every=0)
    batches = list(IDS.split(4))
    history = Trainer(ours, batches, settings).run()
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    losses = []
    for step in range(8):
        ids = batches[step % len(batches)]
        loss = nn.functional.cross_entropy(theirs(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert [row["loss"] for row in history] == pytest.approx(losses, rel=1e-6)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_auditor_changes_no_number():
    watched, alone = model(), model()
    Trainer(watched, IDS, config(audit_every=2)).run()
    Trainer(alone, IDS, config(audit_every=0)).run()
    assert same(watched.state_dict(), alone.state_dict())


class StopAt(Callback):
    def __init__(self, control, step):
        self.control, self.at = control, step

    def on_step(self, trainer, row):
        if trainer.step == self.at:
            self.control.request_stop("test", 0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gradient_accumulation_steps": 3, "optimizer": "schedule_free", "schedule": "constant"},
        {"ema_decay": 0.9, "optimizer": "muon"},
        {"optimizer": "soap", "dtype": "bfloat16"},
        {"optimizer": "adafactor"},
    ],
    ids=lambda changes: changes.get("optimizer", "adamw"),
)
def test_a_run_taken_up_again_is_the_run_that_never_stopped(tmp_path, changes):
    def build(folder, *callbacks, control=None):
        torch.manual_seed(5)
        data = DataLoader(classes(), batch_size=4, shuffle=True)  # an order drawn from the global generator
        evaluate = lambda net: held_out_loss(net, [classes()[:]], class_loss)  # noqa: E731
        settings = config(steps=11, evaluate_every=4, **changes)
        return Trainer(
            small(),
            data,
            settings,
            loss=class_loss,
            evaluate=evaluate,
            folder=folder,
            callbacks=callbacks,
            control=control,
        )

    whole = build(tmp_path / "whole")
    history = whole.run()
    control = RunControl()
    with pytest.raises(Interrupted):
        build(tmp_path / "cut", StopAt(control, 6), control=control).run()
    torch.rand(100)  # what another program part does with the generator in between is forgotten
    again = build(tmp_path / "cut")
    resumed = again.run()
    assert same(whole.model.state_dict(), again.model.state_dict())
    assert same(whole.optimizer.state_dict(), again.optimizer.state_dict())
    drop = lambda rows: [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in rows]  # noqa: E731
    assert same(drop(history), drop(resumed))
    rows = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if "loss" in row]
    assert steps == list(range(1, 12))  # none missing, none twice


def test_accumulation_is_one_large_batch_though_lengths_differ():
    labels = IDS.clone()
    labels[:4, 3:] = -100  # a short batch: its few tokens must not weigh more
    parts = [(IDS[i : i + 4], labels[i : i + 4]) for i in (0, 4)]
    settings = config(steps=3, schedule="constant", audit_every=0)
    one, two = model(), model()
    Trainer(one, [(IDS[:8], labels[:8])], settings).run()
    Trainer(two, parts, settings.replace(gradient_accumulation_steps=2)).run()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_rows_are_cut_and_recomputed_activations_change_nothing():
    one, two = model(), model()
    Trainer(one, IDS[:, :7].contiguous(), config(steps=2)).run()
    Trainer(two, IDS, config(steps=2, max_seq_length=7, gradient_checkpointing=True)).run()
    assert two.backbone.gradient_checkpointing
    assert same(one.state_dict(), two.state_dict())


def test_the_best_checkpoint_and_the_last_ones_are_kept(tmp_path):
    scores = iter([3.0, 1.0, 2.0, 2.5, 2.6])
    settings = config(steps=10, evaluate_every=2, save_every=2, keep_last=1)
    trainer = Trainer(model(), IDS, settings, evaluate=lambda net: next(scores), folder=tmp_path)
    trainer.run()
    assert [folder.name for folder in trainer.store.folders()] == ["step-00000004", "step-00000010"]
    assert trainer.store.best().step == 4


def test_early_stopping():
    scores = iter([3.0, 1.0, 2.0, 2.5, 0.1])
    trainer = Trainer(model(), IDS, config(evaluate_every=1, patience=2), evaluate=lambda net: next(scores))
    trainer.run()
    assert trainer.step == 4


def test_a_moving_average_is_what_is_evaluated():
    seen = []
    trainer = Trainer(
        small(), classes(), config(steps=2, evaluate_every=2, ema_decay=0.5), loss=class_loss,
        evaluate=lambda net: seen.append(net) or 1.0,
    )  # fmt: skip
    trainer.run()
    assert seen == [trainer.average]


def test_float16_trains_and_keeps_its_scale(tmp_path):
    trainer = Trainer(small(0.0), classes(), config(fp16=True, steps=4), loss=class_loss, folder=tmp_path)
    assert math.isfinite(trainer.run()[-1]["loss"])
    assert trainer.store.latest().state["precision"]["scale"] == 2.0**16


class Log(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 3)

    def forward(self, x):
        return torch.log(self.inner(x) * 0)


def test_a_run_that_diverges_says_where_it_began():
    with pytest.raises(TrainingDiverged, match=r"learning_rate = 0.01: 3 steps .* log in forward.*nan|log"):
        Trainer(Log(), classes(), config(), loss=class_loss).run()


def test_every_fault_of_a_configuration_at_once():
    with pytest.raises(ValueError) as caught:
        TrainingConfig.from_dict(
            {"learning_rate": -1.0, "optimizer": "adamv", "schedule": "cosin", "patience": 2, "warmup_steps": 9999,
             "batchsize": 3, "fp16": True, "dtype": "bfloat16"}
        )  # fmt: skip
    for part in (
        "learning_rate",
        "did you mean 'adamw'",
        "did you mean 'cosine'",
        "evaluate_every",
        "warm",
        "batch_size",
        "fp16",
    ):
        assert part in str(caught.value), part


def test_data_that_runs_out_is_named():
    with pytest.raises(ValueError, match="data: ran out after 2 batches"):
        Trainer(model(), iter(IDS[:8].split(4)), config()).run()


def test_a_loss_without_graph_is_refused():
    with pytest.raises(ValueError, match="loss: has no graph"):
        Trainer(model(), IDS, config(), loss=lambda net, ids: net(ids).logits.detach().sum()).run()
