"""The trainer's mixed precision takes the steps of a hand-written torch.amp loop, skips and growth included."""

import pytest
import torch
from torch import nn

from nexus.training.plain import same
from nexus.training.precision import MixedPrecision


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def inputs(step):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(step))
    return x * (1e30 if step == 3 else 1.0)  # one batch overflows


def test_scales_skips_and_steps_are_those_of_torch():
    ours, theirs = net(), net()
    precision = MixedPrecision("cpu", "float16", initial_scale=1024.0, growth_interval=2)
    scaler = torch.amp.GradScaler("cpu", 1024.0, growth_interval=2)
    one, other = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (ours, theirs))
    stepped, scales = [], []
    for step in range(8):
        one.zero_grad()
        with precision.context():
            loss = ours(inputs(step)).square().mean()
        precision.scale(loss).backward()
        precision.unscale(one)
        stepped.append(precision.step(one))
        scales.append(precision.scaler.get_scale())
        other.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = theirs(inputs(step)).square().mean()
        scaler.scale(loss).backward()
        scaler.step(other)
        scaler.update()
        assert scaler.get_scale() == scales[-1]
    assert stepped == [step != 3 for step in range(8)]
    assert scales[:5] == [1024.0, 2048.0, 2048.0, 1024.0, 1024.0]
    assert same(ours.state_dict(), theirs.state_dict())


def test_small_gradients_vanish_without_the_scale_and_not_with_it():
    def gradient(dtype, scale):
        weight = nn.Parameter(torch.full((1, 1), 0.5))
        precision = MixedPrecision("cpu", dtype, initial_scale=scale)
        with precision.context():
            loss = nn.functional.linear(torch.ones(1, 1), weight).sum().float() * 1e-9
        precision.scale(loss).backward()
        precision.unscale(torch.optim.SGD([weight], lr=1.0))
        return weight.grad.item()

    assert gradient("float16", 1.0) == 0
    assert gradient("float16", 2.0**16) == pytest.approx(1e-9, rel=1e-2)
    assert gradient("float32", 1.0) == pytest.approx(1e-9)


def test_the_scale_is_kept():
    precision = MixedPrecision("cpu", "float16", initial_scale=256.0)
    again = MixedPrecision("cpu", "float16")
    again.load_state_dict(precision.state_dict())
    assert again.scaler.get_scale() == 256.0
    assert MixedPrecision("cpu", "bfloat16").state_dict() == {}
