"""Adaptive compute: the energy falls, its slope is exact, units stop by themselves, both kinds of gradients agree."""

from __future__ import annotations

import pytest
import torch

from nexus.core.base import ConfigError
from nexus.core.energy import EnergyConfig, EnergyModule
from tests.numerics import close, parameter_gradients, poisoned_memory  # noqa: F401 - fixture

SHAPES = {"token": (2, 5, 32), "line": (2, 7, 32), "grid": (2, 4, 5, 32)}
KINDS = pytest.mark.parametrize("coupling", SHAPES)


def build(coupling="token", gain=1.0, **changes):
    module = EnergyModule(EnergyConfig.tiny(coupling=coupling, **changes)).double()
    with torch.no_grad():
        module.weight.mul_(gain)
    return module, torch.randn(SHAPES[coupling], dtype=torch.float64)


@KINDS
def test_the_slope_is_the_gradient_of_the_energy(coupling):
    module, x = build(coupling)
    y = torch.randn_like(x).requires_grad_()
    (wanted,) = torch.autograd.grad(module.energy(y, x).sum(), y)
    close(module.slope(y, x), wanted, 1e-10)


@KINDS
@pytest.mark.parametrize("gain", [1.0, 3.0, 10.0])
def test_no_step_raises_the_energy_whatever_the_weights(coupling, gain):
    module, x = build(coupling, gain)
    drive, y = module.recall(x), torch.randn_like(x)
    for _ in range(20):
        below = module.step(y, drive)
        assert (module.energy(below, x) <= module.energy(y, x) + 1e-9 * module.energy(y, x).abs()).all()
        y = below


@KINDS
def test_every_parameter_gets_a_gradient(coupling):
    module, x = build(coupling)
    gradients = parameter_gradients(module, [module(x)[0]])
    assert [name for name, gradient in gradients.items() if not gradient.any()] == []


@KINDS
def test_gradients_through_all_steps_and_through_the_rest_point_agree(coupling):
    module, x = build(coupling, 1.0, max_iterations=1000, convergence_threshold=1e-9)
    x.requires_grad_()
    found = {}
    for kind in ("unrolled", "implicit"):
        module.config = module.config.replace(gradient=kind)
        y, info = module(x)
        assert info.settled.all()
        found[kind] = [*torch.autograd.grad(y.square().sum(), [x, *module.parameters()])]
    for a, b in zip(found["unrolled"], found["implicit"], strict=True):
        close(a, b, 1e-4)


def test_harder_units_take_longer_and_each_stops_by_itself():
    module, x = build("token", 1.5, max_iterations=500, convergence_threshold=1e-4)
    info = module(x)[1]
    assert info.settled.all()
    assert len(info.per_unit.unique()) > 1
    for row in range(2):  # a sample takes the steps that it takes alone
        assert torch.equal(module(x[row : row + 1])[1].per_unit[0], info.per_unit[row])


def test_places_at_rest_do_not_hide_one_that_is_not():
    module, _ = build("line", max_iterations=500, convergence_threshold=1e-3)
    with torch.no_grad():
        module.recall.bias.zero_()  # where nothing is given, nothing moves
    short = torch.zeros(1, 30, 32, dtype=torch.float64)
    short[:, :3] = torch.randn(3, 32, dtype=torch.float64)
    long = torch.cat((short, torch.zeros(1, 300, 32, dtype=torch.float64)), dim=1)
    assert module(short)[1].per_unit > 5
    assert torch.equal(module(long)[1].per_unit, module(short)[1].per_unit)


def test_a_unit_that_has_stopped_stays_as_it_is():
    module, x = build("token", 1.5, max_iterations=500, convergence_threshold=1e-3)
    y, info = module(x)
    quick = info.per_unit.min()
    module.max_iterations = int(quick)
    early = module(x)[0]
    stopped = info.per_unit == quick
    close(y[stopped], early[stopped], 0.0)
    assert not torch.equal(y, early)


def test_thresholds_and_the_limit_set_the_number_of_steps():
    module, x = build()
    module.convergence_threshold = 1e9
    assert module(x)[1].per_unit.eq(1).all()
    module.convergence_threshold = 0.0
    info = module(x)[1]
    assert info.per_unit.eq(module.max_iterations).all()
    assert not info.settled.any()

    def sure(y):
        return (y[..., 0] > 0).double()

    module.confidence_threshold = 0.5
    info = module(x, sure)[1]
    assert torch.equal(info.settled, info.per_unit < module.max_iterations)
    assert 0 < int(info.settled.sum()) < info.settled.numel()


def test_positions_that_settle_alone_know_nothing_of_later_ones():
    module, x = build()
    changed = x.clone()
    changed[:, 3:] = 9.0
    assert torch.equal(module(x)[0][:, :3], module(changed)[0][:, :3])


def test_info_as_a_mapping():
    module, x = build()
    info = module(x)[1].as_dict()
    assert isinstance(info["iterations"], float)
    assert info["per_sample"].shape == (2,)
    assert info["energy"].shape == (2, 5)


def test_wrong_values_are_named_with_their_cure():
    with pytest.raises(ConfigError) as caught:
        EnergyConfig(step_size=1.5, max_iterations=0, confidence_threshold=2.0)
    assert len(caught.value.faults) == 3
    with pytest.raises(ValueError, match="Expected tensor with 3 dimensions"):
        build()[0](torch.zeros(2, 32).double())
    for wrong in (torch.zeros(2, 0, 32).double(), torch.zeros(2, 3, 32, dtype=torch.long)):
        with pytest.raises(ValueError, match="pass floats"):
            build()[0](wrong)
