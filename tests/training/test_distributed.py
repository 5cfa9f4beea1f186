"""Two gloo processes take the steps of one process with the joint batch: our data parallel, DDP and FSDP2."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nexus.training.accumulation import Loss
from nexus.training.audit.record import read_record
from nexus.training.config import TrainingConfig
from nexus.training.data_parallel import DataParallel, distributed
from nexus.training.fsdp import FullyShardedDataParallel, bytes_of_a_process
from nexus.training.loop import Trainer
from nexus.training.plain import same
from nexus.training.processes import current, joined
from nexus.training.store import CheckpointStore

STEPS = 6
SETTINGS = TrainingConfig(
    steps=STEPS,
    learning_rate=1e-2,
    schedule="constant",
    max_grad_norm=0.5,
    gradient_accumulation_steps=2,
    audit_every=2,
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return self.head(x)


def batches(rank, world):
    """Each process's share of the batches of every step; the token counts differ."""
    draw, found = torch.Generator().manual_seed(1), []
    for index in range(STEPS * 4):
        x, labels = torch.randn(8, 6, generator=draw), torch.randint(3, (8,), generator=draw)
        labels[: index % 5] = -100
        found.append((x, labels))
    return [batch for index, batch in enumerate(found) if index % world == rank]


def loss(model, batch):
    total = nn.functional.cross_entropy(model(batch[0]), batch[1], ignore_index=-100, reduction="sum")
    return Loss(total, (batch[1] != -100).sum(), expected=8.0)


def main(kind, folder):
    """What each process does: train, and let the checkpoint speak."""
    with joined() as processes:
        model = Net()
        if kind == "own":
            _by_hand(model, processes, folder)
            return
        settings = SETTINGS.replace(parallel=kind)
        Trainer(model, batches(processes.rank, processes.world), settings, loss=loss, folder=folder).run()
        if kind == "fsdp" and processes.first:
            held = sum(p.to_local().numel() for p in model.parameters())
            Path(folder, "held.json").write_text(json.dumps(held))


def _by_hand(model, processes, folder):
    if not processes.first:
        with torch.no_grad():
            model.head.weight.add_(1.0)  # overwritten by the first process's
    wrapped = DataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, labels in batches(processes.rank, processes.world)[:STEPS]:
        optimizer.zero_grad()
        nn.functional.mse_loss(wrapped(x), nn.functional.one_hot(labels.clamp(min=0), 3).float()).backward()
        wrapped.exchange()
        optimizer.step()
    if processes.first:
        CheckpointStore(folder).save(STEPS, model.state_dict(), {})


def two_processes(kind, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).resolve().parents[2]
    program = f"from tests.training.test_distributed import main; main({kind!r}, {str(folder)!r})"
    base = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=root, stderr=subprocess.PIPE, text=True,
            env=os.environ | base | {"RANK": str(rank), "PYTHONPATH": f"{root}:{root / 'src'}"},
        )
        for rank in range(2)
    ]  # fmt: skip
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_take_the_steps_of_one(tmp_path, kind):
    two_processes(kind, tmp_path / "two")
    alone = Net()
    whole = SETTINGS.replace(gradient_accumulation_steps=4)
    Trainer(alone, batches(0, 1), whole, loss=loss, folder=tmp_path / "one").run()
    one, two = (CheckpointStore(tmp_path / name / "checkpoints").latest() for name in ("one", "two"))
    assert one.model.keys() == two.model.keys()
    for name in one.model:
        torch.testing.assert_close(two.model[name], one.model[name], rtol=1e-5, atol=1e-6)
    losses = [[row["loss"] for row in checkpoint.state["history"]] for checkpoint in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    looks = [read_record(tmp_path / name).readings for name in ("one", "two")]  # the auditor sees whole tensors
    assert [look["step"] for look in looks[0]] == [look["step"] for look in looks[1]] == [1, 2, 4, 6]
    for alone_look, look in zip(*looks, strict=True):
        assert look["gradient"] == pytest.approx(alone_look["gradient"], rel=1e-4)
        assert look["ratio"] == pytest.approx(alone_look["ratio"], rel=1e-3)
        assert look["groups"].keys() == alone_look["groups"].keys()
        assert look["silent_count"] == look["unheld_count"] == 0
    if kind == "fsdp":
        parameters = sum(p.numel() for p in alone.parameters())
        held = json.loads((tmp_path / "two" / "held.json").read_text())
        assert held <= 0.55 * parameters + 8  # rows that two don't divide go to the first process
        assert bytes_of_a_process(parameters, 2) == 8 * parameters


@pytest.mark.slow
def test_our_own_exchange_is_the_joint_batch(tmp_path):
    two_processes("own", tmp_path)
    alone, found = Net(), CheckpointStore(tmp_path).latest().model
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.1)
    pairs = [batches(rank, 2)[:STEPS] for rank in range(2)]
    for (x, a), (y, b) in zip(*pairs, strict=True):
        optimizer.zero_grad()
        target = nn.functional.one_hot(torch.cat((a, b)).clamp(min=0), 3).float()
        nn.functional.mse_loss(alone(torch.cat((x, y))), target).backward()
        optimizer.step()
    for name, parameter in alone.state_dict().items():
        torch.testing.assert_close(found[name], parameter, rtol=1e-5, atol=1e-6)


def test_one_process_needs_no_group():
    assert current().world == 1
    value = torch.ones(2)
    assert current().mean(value) is value
    net = DataParallel(Net())
    net(torch.ones(1, 6)).sum().backward()
    before = [p.grad.clone() for p in net.parameters()]
    net.exchange()
    assert same(before, [p.grad for p in net.parameters()])
    for engine in (distributed, FullyShardedDataParallel):
        with pytest.raises(ValueError, match="no process group; start with torchrun"):
            engine(Net())
