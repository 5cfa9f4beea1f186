"""The world model: what it predicts, how the target follows, when the alarm is raised; it learns to foresee."""

from __future__ import annotations

import logging

import pytest
import torch

from nexus.core.base import ConfigError
from nexus.core.collapse import collapse_report, sigreg, variance_covariance
from nexus.core.world_model import WorldModel, WorldModelConfig
from tests.numerics import close, poisoned_memory  # noqa: F401 - fixture


def build(**changes):
    return WorldModel(WorldModelConfig.tiny(**changes))


def swings(rows=16, length=24):
    """Points on circles turning at one speed each: what comes next follows from where and how fast."""
    phase, speed = 6.28 * torch.rand(rows, 1), 0.2 + 0.2 * torch.rand(rows, 1)
    angle = phase + speed * torch.arange(length)
    there = torch.stack([angle.cos(), angle.sin(), speed.expand(-1, length) * 3], -1)
    return there @ torch.randn(3, 8, generator=torch.Generator().manual_seed(3))


def test_the_target_follows_and_gets_no_gradient():
    world = build(ema=0.75)
    world.loss(swings()).total.backward()
    assert all(p.grad is None and not p.requires_grad for p in world.target.parameters())
    assert all(p.grad is not None and p.grad.any() for p in world.parameters() if p.requires_grad)
    slow, fast = next(world.target.parameters()).clone(), next(world.encoder.parameters())
    with torch.no_grad():
        fast.add_(1.0)
    world.update_target()
    close(next(world.target.parameters()), 0.75 * slow + 0.25 * fast.detach())


def test_imagining_is_predicting_again_and_again():
    world, state = build(d_action=2), torch.randn(3, 16)
    actions = torch.randn(3, 4, 2)
    rolled, step = world.imagine(state, actions), state
    for k in range(4):
        step = world.predict(step, actions[:, k])
        close(rolled[:, k], step)
    assert build().imagine(state, steps=7, level=1).shape == (3, 7, 16)


def test_higher_levels_see_further_back_and_nobody_sees_the_future():
    world, x = build(n_levels=3), swings(1, 12)
    changed = x.clone()
    changed[:, 6] += 1.0
    for level in range(3):
        moved = (world.encode(x, level) != world.encode(changed, level)).any(-1)[0]
        assert moved.nonzero()[:, 0].tolist() == list(range(6, 6 + 2**level))


def test_the_loss_of_each_level_is_its_predictions_against_the_target():
    world, x = build(n_levels=2, prediction_horizon=2, regulariser="none"), swings(2, 6)
    goals, latents = world.target(x), world.encoder(x)
    errors = []
    for level, stride in enumerate((1, 2)):
        one = world.predict(latents[level], level=level)
        two = world.predict(one, level=level)
        errors.append((one[:, :-stride] - goals[level][:, stride:]).square().mean())
        errors.append((two[:, : -2 * stride] - goals[level][:, 2 * stride :]).square().mean())
    close(world.loss(x).prediction, torch.stack(errors).mean(), 1e-6)


def test_actions_of_a_stride_are_averaged():
    torch.manual_seed(0)
    world = build(d_action=1, n_levels=2, prediction_horizon=1, regulariser="none")
    x, actions = swings(2, 5), torch.randn(2, 5, 1)
    latents, goals = world.encoder(x), world.target(x)
    mean = (actions[:, :-2] + actions[:, 1:-1]) / 2
    upper = (world.predict(latents[1][:, :-2], mean, 1) - goals[1][:, 2:]).square().mean()
    lower = (world.predict(latents[0][:, :-1], actions[:, :-1], 0) - goals[0][:, 1:]).square().mean()
    close(world.loss(x, actions).prediction, (upper + lower) / 2, 1e-6)


def _train(world, steps=120, lr=3e-3):
    optimiser = torch.optim.AdamW([p for p in world.parameters() if p.requires_grad], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        found = world.loss(swings(8, 20))
        found.total.backward()
        optimiser.step()
        world.update_target()
    return found


@pytest.mark.parametrize("regulariser", ["sigreg", "variance_covariance"])
def test_it_learns_to_predict_without_collapsing(regulariser):
    weight = 0.1 if regulariser == "sigreg" else 1.0
    world = build(regulariser=regulariser, regulariser_weight=weight, ema=0.9)
    _train(world)
    x = swings(64, 24)
    with torch.no_grad():
        latents, goals = world.encoder(x)[0], world.target(x)[0]
        rolled = world.imagine(latents[:, 7], steps=8)[:, -1]
        error, still = ((rolled - goals[:, 15]) ** 2).mean(), ((goals[:, 7] - goals[:, 15]) ** 2).mean()
    assert error < 0.3 * still  # eight steps ahead, far better than "nothing moves"
    assert not collapse_report(latents).collapsed


def test_without_a_regulariser_the_alarm_is_raised(caplog):
    world = build(regulariser="none", ema=0.0, n_levels=1)
    with caplog.at_level(logging.WARNING, logger="nexus"):
        found = _train(world, 150, lr=1e-2)
    assert found.collapse.collapsed
    assert "latents have collapsed" in caplog.text


def test_collapse_is_seen_in_rank_and_in_spread():
    spread = torch.randn(500, 16)
    assert not collapse_report(spread).collapsed
    assert collapse_report(spread).effective_rank > 15
    assert collapse_report(torch.randn(500, 1) @ torch.randn(1, 16)).collapsed  # one direction
    assert collapse_report(spread * 0.01).collapsed  # hardly any spread
    assert collapse_report(spread * float("nan")).collapsed


def test_the_regularisers_are_least_where_features_are_spread():
    torch.manual_seed(0)
    good = torch.randn(2000, 8)
    for bad in (good * 0.1, good[:, :1].expand(-1, 8), good + 2.0, torch.zeros(2000, 8)):
        assert sigreg(bad) > 5 * sigreg(good)
    assert variance_covariance(good) < 0.1
    assert variance_covariance(good * 0.1) > 0.8
    assert variance_covariance(good[:, :1].expand(-1, 8)) > 1


def test_what_is_unexpected_surprises():
    world = build(ema=0.9)
    _train(world)
    x = swings(8, 24)
    jumped = x.clone()
    jumped[:, 12:] = x.roll(1, 0)[:, 12:]
    with torch.no_grad():
        calm, alarmed = world(x)["surprise"][:, 12], world(jumped)["surprise"][:, 12]
    assert alarmed.mean() > 10 * calm.mean()


def test_wrong_values_are_named_with_their_cure():
    with pytest.raises(ConfigError, match="'variance_covariance'"):
        build(regulariser="vicreg")
    with pytest.raises(ValueError, match="d_action = 2"):
        build(d_action=2).loss(swings())
    with pytest.raises(ValueError, match="too few for 3 levels"):
        build(n_levels=3).loss(swings(2, 4))
    with pytest.raises(ValueError, match="nothing to imagine"):
        build().imagine(torch.zeros(1, 16))
    with pytest.raises(ValueError, match="batch, time"):
        build()(torch.zeros(3, 8))
    for wrong in (torch.zeros(1, 3, 7), torch.zeros(1, 3, 8, dtype=torch.long)):
        with pytest.raises(ValueError, match=r"Expected floats \(batch, time, 8\)"):
            build()(wrong)
    with pytest.raises(ValueError, match="state: has shape"):
        build().imagine(torch.zeros(1, 8), steps=2)
