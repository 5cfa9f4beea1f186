"""The thermal guard with a scripted sensor (no GPU is needed), and the guard against non-finite numbers."""

from __future__ import annotations

import logging

import pytest
import torch

from nexus.training.checkpoint import load_checkpoint, save_checkpoint
from nexus.training.control import RunControl
from nexus.training.guards import NanGuard, ThermalGuard, TrainingDiverged, Verdict, gradients_finite, nvml_sensor


class Readings:
    """A sensor that reads the given temperatures, then stays at the last."""

    def __init__(self, *degrees: float) -> None:
        self.left = list(degrees)

    def __call__(self) -> float:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


def guard(*degrees: float, **options) -> ThermalGuard:
    return ThermalGuard(RunControl(), sensor=Readings(*degrees), pause=0.001, **options)


def test_cool_is_left_alone(caplog):
    assert guard(60, 83).check() == 0
    assert caplog.text == ""


def test_hot_pauses_until_cool_enough_not_just_below_the_limit(caplog):
    one = guard(84, 82, 79, 78, 60)
    assert one.check() == pytest.approx(0.003)  # at 84, 82 and 79; 78 is the way out
    assert "GPU at 84 C (limit 83 C): pausing" in caplog.text
    assert one.check() == 0


def test_the_pauses_of_a_run_are_capped_and_that_is_said_once(caplog):
    one = guard(90, cap=0.0035)
    assert one.check() == pytest.approx(0.003)
    assert one.check() == 0
    assert caplog.text.count("check its fan") == 1


def test_a_stop_ends_the_pause():
    control = RunControl()
    control.request_stop("test", 130)
    one = ThermalGuard(control, sensor=Readings(90), pause=3600, cap=36000)
    assert one.check() == 3600  # planned, not slept: this test would know


def test_no_sensor_is_said_once_and_costs_nothing(caplog, monkeypatch):
    monkeypatch.setattr("nexus.training.guards.nvml_sensor", lambda: (None, "no NVIDIA GPU is there"))
    with caplog.at_level(logging.INFO):
        one = ThermalGuard(RunControl())
        assert one.check() == one.check() == 0
    assert caplog.text.count("thermally unguarded") == 1


def test_a_dying_sensor_does_not_end_the_run(caplog):
    def broken() -> float:
        raise RuntimeError("GPU is lost")

    one = ThermalGuard(RunControl(), sensor=broken)
    assert one.check() == one.check() == 0
    assert caplog.text.count("GPU is lost") == 1


def test_the_real_sensor_reads_a_temperature_or_says_why_not():
    sensor, why = nvml_sensor()
    assert why
    assert sensor is None or 0 < sensor() < 120


# ---- non-finite numbers ----------------------------------------------------------------------------------------------


def test_one_bad_step_is_skipped_and_counted():
    one = NanGuard()
    verdicts = [one.judge(loss) for loss in (1.0, float("nan"), 1.0, float("inf"), 1.0)]
    assert verdicts == [Verdict.STEP, Verdict.SKIP, Verdict.STEP, Verdict.SKIP, Verdict.STEP]
    assert one.skipped == 2
    assert one.roll_backs == 0


def test_a_bad_gradient_counts_as_well():
    assert NanGuard().judge(torch.tensor(1.0), torch.tensor(float("nan"))) is Verdict.SKIP


def test_gradients_finite():
    weight = torch.nn.Parameter(torch.zeros(3))
    other = torch.nn.Parameter(torch.zeros(3))
    assert gradients_finite([weight, other])
    weight.grad = torch.tensor([0.0, float("inf"), 0.0])
    assert not gradients_finite([weight, other])


def train(path, fault_at: range) -> tuple[torch.Tensor, NanGuard]:
    """Twelve steps of least squares; at `fault_at` (counted over all tries) the loss is NaN and the weights too."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(4))
    optimiser = torch.optim.SGD([weight], lr=0.1)
    data = torch.randn(12, 4)
    one, step, tries = NanGuard(), 0, 0
    save_checkpoint(path, {"weight": weight.detach().clone(), "step": 0})
    while step < 12:
        factor = float("nan") if tries in fault_at else 1.0
        tries += 1
        loss = (weight - data[step]).square().mean() * factor
        optimiser.zero_grad()
        loss.backward()
        verdict = one.judge(loss, torch.nn.utils.clip_grad_norm_([weight], 1.0))
        if verdict is Verdict.STEP:
            optimiser.step()
        elif verdict is Verdict.SKIP:
            weight.data.fill_(float("nan"))  # the worst case: the weights are gone
        else:
            saved = load_checkpoint(path)
            weight.data.copy_(saved["weight"])
            step = saved["step"]
            one.rolled_back()
            continue
        step += 1
        if step == 4:
            save_checkpoint(path, {"weight": weight.detach().clone(), "step": step})
    return weight.detach(), one


def test_three_in_a_row_roll_back_to_the_last_good_checkpoint(tmp_path):
    clean, _ = train(tmp_path / "clean_latest.pt", range(0))
    rolled, one = train(tmp_path / "faulty_latest.pt", range(6, 9))
    assert (one.roll_backs, one.skipped) == (1, 3)
    assert torch.equal(rolled, clean)


def test_it_does_not_roll_back_for_ever(tmp_path):
    with pytest.raises(TrainingDiverged, match=r"learning_rate.*after 3 roll-backs.*cure"):
        train(tmp_path / "checkpoint_latest.pt", range(6, 1000))


def test_its_counters_survive_a_checkpoint(tmp_path):
    one, other = NanGuard(), NanGuard()
    one.judge(float("nan"))
    one.rolled_back()
    save_checkpoint(tmp_path / "c.pt", {"guard": one.state_dict()})
    other.load_state_dict(load_checkpoint(tmp_path / "c.pt")["guard"])
    assert other.state_dict() == one.state_dict() == {"in_a_row": 0, "skipped": 1, "roll_backs": 1}
