"""The live auditor: planted faults are named, healthy runs are left alone, and watching changes nothing."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nexus.training.audit.diagnosis import diagnose
from nexus.training.audit.probes import can_overfit_one_batch, learning_rate_range_test, sees_future
from nexus.training.audit.record import Record, read_record
from nexus.training.audit.replay import find_origin
from nexus.training.audit.watch import Auditor
from nexus.training.config import TrainingConfig
from nexus.training.loop import Trainer
from nexus.training.objectives import square_loss

_FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "planted_runs.py"
_SPEC = importlib.util.spec_from_file_location("planted_runs", _FILE)
RUNS = importlib.util.module_from_spec(_SPEC)
sys.modules["planted_runs"] = RUNS  # its dataclasses look themselves up
_SPEC.loader.exec_module(RUNS)
FAULTS, Language, chain, faulty, healthy = RUNS.FAULTS, RUNS.Language, RUNS.chain, RUNS.faulty, RUNS.healthy
next_token, train = RUNS.next_token, RUNS.train
FAST = {"rate far too high", "body detached", "future leaks", "dead ReLUs", "log of zero", "item() in the loss"} | {
    "losses kept with graphs"
}
QUICK = [name for name in FAULTS if name != "slow loader"]  # the clock: benchmark


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in QUICK])
def test_a_planted_fault_is_the_first_that_is_named(name):
    run = faulty(name, "gru", seed=5)
    auditor = Auditor(run.model, every=8, causal=True)
    train(run, auditor)
    found = auditor.findings()
    assert found, "nothing was found"
    assert found[0].kind == FAULTS[name][0]
    assert found[0].evidence
    assert found[0].causes
    assert found[0].cure


@pytest.mark.parametrize("number", [2, 5, 8])
def test_a_healthy_run_is_left_alone(number):
    run = healthy(number)
    auditor = Auditor(run.model, every=8, causal=True)
    losses = train(run, auditor)
    assert losses[-1] < losses[0]
    assert auditor.findings() == []


@pytest.mark.slow
def test_a_healthy_run_may_rest_at_the_frequencies_of_its_labels():
    run = healthy(38, seed=303)  # a deep GRU under plain SGD: below a guess, and no further within its steps
    auditor = Auditor(run.model, every=8, causal=True)
    losses = train(run, auditor)
    assert losses[-1] > 0.95 * auditor.record.facts["uniform_loss"]
    assert auditor.findings() == []


def test_watching_changes_no_weight_and_leaves_nothing_behind():
    runs = [faulty("dead ReLUs", "gru", 3) for _ in range(2)]
    train(runs[0], Auditor(runs[0].model, every=1, causal=True))
    train(runs[1], None)
    for a, b in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in runs[0].model.modules())


def test_off_it_records_nothing():
    run = healthy(2)
    auditor = Auditor(run.model, every=0)
    train(run, auditor)
    assert auditor.record == Record()


def test_looks_are_seldom():
    auditor = Auditor(nn.Linear(1, 1), every=50)
    assert [step for step in range(1, 201) if auditor.looks_at(step)] == [1, 2, 4, 8, 16, 32, 50, 100, 150, 200]


def test_the_record_on_disk_gives_the_same_diagnosis(tmp_path):
    run = faulty("log of zero", "gru", 5)
    auditor = Auditor(run.model, every=8, causal=True, folder=tmp_path)
    train(run, auditor)
    auditor.close()
    again = read_record(tmp_path)
    assert len(again.steps) == len(auditor.record.steps)
    assert [f.kind for f in diagnose(again)] == [f.kind for f in auditor.findings()] == ["nan death"]


def test_a_compiled_model_is_heard():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        net[0].bias.fill_(-50.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    auditor = Auditor(net, optimizer, every=1)
    net.compile(backend="eager")
    for _ in range(3):
        with auditor.step() as seen:
            loss = net(torch.randn(6, 4)).square().mean()
            seen.loss = loss.detach()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert auditor.record.readings[-1]["dead"] == {"1:relu": 1.0}


def dead_from_the_start():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        net[0].bias.fill_(-50.0)
    return net


def pairs(count, rows):
    draw = torch.Generator().manual_seed(1)
    inputs, targets = torch.randn(count * rows, 4, generator=draw), torch.randn(count * rows, 2, generator=draw)
    return list(zip(inputs.split(rows), targets.split(rows), strict=True))


SETTINGS = TrainingConfig(steps=4, learning_rate=1e-2, audit_every=1, log_every=1, schedule="constant")


def test_accumulated_batches_are_one_step_to_the_auditor():
    whole = Trainer(dead_from_the_start(), pairs(4, 8), SETTINGS, loss=square_loss)
    parts = Trainer(
        dead_from_the_start(), pairs(8, 4), SETTINGS.replace(gradient_accumulation_steps=2), loss=square_loss
    )
    whole.run()
    parts.run()
    for one, other in zip(whole.auditor.record.readings, parts.auditor.record.readings, strict=True):
        assert other["step"] == one["step"]
        assert other["gradient"] == pytest.approx(one["gradient"], rel=1e-5)
        assert other["ratio"] == pytest.approx(one["ratio"], rel=1e-4)
        assert not other["stale"]  # the second batch adds to the first one's gradients, which is no slip
        assert other["dead"] == one["dead"] == {"1:relu": 1.0}
    kinds = [[finding.kind for finding in trainer.auditor.findings()] for trainer in (whole, parts)]
    assert kinds[0] == kinds[1]
    assert kinds[0][0] == "dead units"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # in torch's own compiler
def test_a_model_that_is_really_compiled_is_heard_and_learns_the_same():
    trainers = [
        Trainer(dead_from_the_start(), pairs(4, 8), SETTINGS.replace(compile=on, audit_every=2), loss=square_loss)
        for on in (False, True)
    ]
    losses = [[row["loss"] for row in trainer.run()] for trainer in trainers]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    readings = [trainer.auditor.record.readings for trainer in trainers]
    assert [look["dead"] for look in readings[1]] == [look["dead"] for look in readings[0]]
    assert readings[1][-1]["dead"] == {"1:relu": 1.0}
    assert readings[1][-1]["gradient"] == pytest.approx(readings[0][-1]["gradient"], rel=1e-5)


# ---- the origin of NaN -----------------------------------------------------------------------------------------------


class Entropy(nn.Module):
    def forward(self, p):
        return -(p * torch.log(p)).sum()


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lift = nn.Linear(2, 2, bias=False)
        self.entropy = Entropy()
        nn.init.eye_(self.lift.weight)

    def forward(self, x):
        return self.entropy(self.lift(x))


def test_it_is_named_with_module_operation_and_tensor():
    model = Model()
    origin = find_origin(model, lambda: model(torch.tensor([[0.0, 1.0]])))
    assert (origin.place, origin.module, origin.operation, origin.value) == ("forward", "entropy", "log", "-inf")
    assert origin.tensor == "output (1, 2)"
    assert "in [0, 1]" in origin.because
    assert "test_watch.py" in origin.code
    assert "log in forward in module 'entropy'" in str(origin)


def test_in_backward_too():
    model = Model()
    origin = find_origin(model, lambda: torch.sqrt(model.lift(torch.zeros(1, 2))).sum())
    assert (origin.place, origin.operation) == ("backward", "sqrt")


def test_a_mask_of_minus_infinity_is_no_suspect():
    lift = nn.Linear(3, 3)

    def loss():
        scores = lift(torch.ones(3, 3)).masked_fill(torch.ones(3, 3).triu(1).bool(), float("-inf"))
        return torch.log(scores.softmax(-1).sum() * 0)

    assert find_origin(lift, loss).operation == "log"


def test_a_finite_step_and_spoilt_weights():
    model = Model()
    assert find_origin(model, lambda: model(torch.rand(1, 2) + 0.1)).place == "nowhere"
    with torch.no_grad():
        model.lift.weight[0, 0] = float("nan")
    origin = find_origin(model, lambda: model(torch.rand(1, 2)))
    assert (origin.place, origin.module) == ("weight", "lift")
    assert all(p.grad is None for p in model.parameters())


# ---- probes ----------------------------------------------------------------------------------------------------------


def test_the_future_is_seen_or_not():
    torch.manual_seed(0)
    model = Language("attention")
    assert sees_future(model, chain(1, 0)) < 1e-5
    model.between = lambda x: x.cumsum(1).flip(1)
    assert sees_future(model, chain(1, 0)) > 1e-3


def test_one_batch_can_be_learnt_or_not():
    torch.manual_seed(0)
    model = Language("gru")
    weights = [p.clone() for p in model.parameters()]
    assert can_overfit_one_batch(model, next_token, chain(4, 0), steps=60, learning_rate=2e-2)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    model.between = torch.Tensor.detach
    model.head.requires_grad_(False)
    model.embed.requires_grad_(False)
    assert not can_overfit_one_batch(model, next_token, chain(4, 0), steps=5)


def test_the_range_test_suggests_a_rate_that_learns():
    torch.manual_seed(0)
    model = Language("gru")
    found = learning_rate_range_test(model, next_token, chain(64, 0).split(8), steps=40)
    assert 1e-3 < found.suggestion < 0.3
    assert found.rates == sorted(found.rates)
