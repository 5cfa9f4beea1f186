"""World model after JEPA: predict what comes next as features, not as pixels or tokens.

The one idea: an encoder turns observations into latents, a predictor rolls latents forward under actions, and the goal
is the latent that a slowly following copy of the encoder gives the real future. Higher levels see pairs of lower
latents and predict in longer strides. Papers: LeCun 2022 (openreview BZ5a1r-kVsf), I-JEPA (arXiv:2301.08243), V-JEPA 2
with actions (arXiv:2506.09985), LeJEPA (arXiv:2511.08544) for the regulariser. Everything at time t is made from
observations up to t.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.base import BaseConfig, NexusModule, in_range, positive
from nexus.core.collapse import CollapseReport, collapse_report, sigreg, variance_covariance

__all__ = ["WorldLoss", "WorldModel", "WorldModelConfig"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig(BaseConfig):
    """Sizes of a :class:`WorldModel`.

    Level l of ``n_levels`` predicts in strides of 2^l steps, each level up to ``prediction_horizon`` strides ahead.
    ``d_action`` is the width of actions (0: none). ``ema`` is how much the target keeps of itself at an update; at 0
    the encoder is its own target and learns from both sides (LeJEPA): the regulariser alone holds off a collapse.
    """

    d_input: int = 256
    d_latent: int = 128
    d_hidden: int = 0  # 2 d_latent
    d_action: int = 0
    n_levels: int = 2
    prediction_horizon: int = 4
    ema: float = 0.99
    regulariser: Literal["sigreg", "variance_covariance", "none"] = "sigreg"
    regulariser_weight: float = 0.1

    def __post_init__(self) -> None:
        if not self.d_hidden and isinstance(self.d_latent, int):
            object.__setattr__(self, "d_hidden", 2 * self.d_latent)
        super().__post_init__()

    def faults(self) -> list[str]:
        """Everything that is out of range, one line each."""
        found = positive(self, "d_input", "d_latent", "d_hidden", "n_levels", "prediction_horizon")
        found += [*in_range(self, "d_action", 0), *in_range(self, "ema", 0, 1)]
        return [*found, *in_range(self, "regulariser_weight", 0)]

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """A world model that builds and learns in milliseconds."""
        return cls(**{"d_input": 8, "d_latent": 16, **changes})  # type: ignore[arg-type]


@dataclass(frozen=True)
class WorldLoss:
    """What :meth:`WorldModel.loss` found: ``total`` to go down on, its two parts, and the spread of the latents."""

    total: Tensor
    prediction: Tensor
    regulariser: Tensor
    collapse: CollapseReport


def _mlp(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    """Two layers that keep the spread of what goes in, so that fresh latents are not taken for collapsed ones."""
    first, last = nn.Linear(width_in, hidden), nn.Linear(hidden, width_out)
    nn.init.normal_(first.weight, std=width_in**-0.5)
    nn.init.normal_(last.weight, std=1.7 * hidden**-0.5)  # SiLU leaves about a third of the square
    return nn.Sequential(first, nn.SiLU(), last)


class Encoder(nn.Module):
    """Observations to latents at every level."""

    def __init__(self, config: WorldModelConfig, observe: nn.Module | None) -> None:
        super().__init__()
        self.observe = _mlp(config.d_input, config.d_hidden, config.d_latent) if observe is None else observe
        self.lift = nn.ModuleList(
            _mlp(2 * config.d_latent, config.d_hidden, config.d_latent) for _ in range(config.n_levels - 1)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """``x`` (B, T, ...) to latents (B, T, d_latent) of each level; level l at t sees 2^l steps up to t."""
        levels = [self.observe(x)]
        for level, lift in enumerate(self.lift):
            below = levels[-1]
            earlier = torch.cat((below[:, :1].expand(-1, 2**level, -1), below), dim=1)[:, : below.shape[1]]
            levels.append(lift(torch.cat((earlier, below), dim=-1)))
        return levels


class WorldModel(NexusModule):
    """Encoder, target encoder, and a predictor for each level.

    Args:
        config: sizes.
        observe: a module from observations (B, T, ...) to latents (B, T, d_latent); a small MLP if None.

    Attributes:
        prediction_horizon: how many strides ahead the loss looks; may be changed at any time.
    """

    config_class = WorldModelConfig
    config: WorldModelConfig

    def __init__(self, config: WorldModelConfig, observe: nn.Module | None = None) -> None:
        super().__init__(config)
        c = self.config
        self._width = c.d_input if observe is None else None  # another eye may see what it likes
        self.prediction_horizon = c.prediction_horizon
        self.encoder = Encoder(c, observe)
        self.target = copy.deepcopy(self.encoder).requires_grad_(False)
        self.predictors = nn.ModuleList(
            _mlp(c.d_latent + c.d_action, 2 * c.d_hidden, c.d_latent) for _ in range(c.n_levels)
        )
        with torch.no_grad():
            for predictor in self.predictors:
                last = list(predictor.children())[-1]
                assert isinstance(last, nn.Linear)
                last.weight.mul_(0.1)  # at first nearly nothing moves

    @torch.no_grad()
    def update_target(self) -> None:
        """Let the target follow the encoder; call it after each step of the optimiser."""
        for slow, fast in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.config.ema)

    def encode(self, x: Tensor, level: int = 0) -> Tensor:
        """Latents (B, T, d_latent) of observations ``x`` (B, T, ...) at a level."""
        self._check(x)
        return self.encoder(x)[level]

    def predict(self, state: Tensor, action: Tensor | None = None, level: int = 0) -> Tensor:
        """The latent one stride (2^level steps) on from ``state`` (..., d_latent) under ``action`` (..., d_action)."""
        given = state if action is None else torch.cat((state, action), dim=-1)
        return state + self.predictors[level](given)

    def imagine(self, state: Tensor, actions: Tensor | None = None, steps: int = 0, level: int = 0) -> Tensor:
        """Roll out from ``state`` (B, d_latent).

        Args:
            actions: (B, K, d_action), one for each stride; None for a world without actions, and ``steps`` strides.

        Returns:
            The latents after each stride (B, K, d_latent).

        Raises:
            ValueError: no number of steps, or a state or actions that do not fit the configuration.
        """
        self._check_actions(actions)
        if state.dim() != 2 or state.shape[-1] != self.config.d_latent:
            raise ValueError(f"state: has shape {tuple(state.shape)}; give latents (B, {self.config.d_latent})")
        count = steps if actions is None else actions.shape[1]
        if count < 1:
            raise ValueError(f"steps={steps}: nothing to imagine; give actions (B, K, d_action), or steps above 0")
        rolled = []
        for k in range(count):
            state = self.predict(state, None if actions is None else actions[:, k], level)
            rolled.append(state)
        return torch.stack(rolled, dim=1)

    def forward(self, x: Tensor, actions: Tensor | None = None) -> dict[str, Tensor]:
        """What each moment of ``x`` (B, T, ...) is, and what is expected one step on.

        Returns:
            ``latents`` and ``expected`` (B, T, d_latent): expected[t] is about t + 1; ``surprise`` (B, T): squared
            error of what was expected at t (0 for the first), known at t.
        """
        self._check(x)
        self._check_actions(actions)
        latents = self.encoder(x)[0]
        expected = self.predict(latents, actions)
        error = (expected[:, :-1] - self.target(x)[0][:, 1:]).square().mean(-1)
        return {"latents": latents, "expected": expected, "surprise": F.pad(error, (1, 0))}

    def loss(self, x: Tensor, actions: Tensor | None = None) -> WorldLoss:
        """How far predictions of all levels are from the targets, plus the regulariser.

        Args:
            x: (B, T, ...), longer than one stride of the highest level. actions: (B, T, d_action), [t] leads to t + 1.
        """
        self._check(x)
        self._check_actions(actions)
        levels = self.encoder(x)
        with torch.no_grad():
            goals = self.target(x) if self.config.ema else levels
        errors = [self._error(level, levels[level], goals[level], actions) for level in range(len(levels))]
        if not all(errors):
            raise ValueError(
                f"x: {x.shape[1]} steps are too few for {len(levels)} levels; give more than {2 ** (len(levels) - 1)}"
            )
        prediction = torch.stack([error for found in errors for error in found]).mean()
        regulariser = torch.stack([self._regulariser(z) for z in levels]).mean()
        report = collapse_report(levels[0])
        if report.collapsed:
            log.warning(
                "world model: latents have collapsed (%.1f of %d directions in use, deviation %.3f); raise "
                "regulariser_weight", report.effective_rank, report.width, report.deviation,
            )  # fmt: skip
        return WorldLoss(prediction + self.config.regulariser_weight * regulariser, prediction, regulariser, report)

    def _error(self, level: int, latents: Tensor, goals: Tensor, actions: Tensor | None) -> list[Tensor]:
        """Mean squared error of this level's predictions, one for each number of strides that fits."""
        stride, length, errors, state = 2**level, latents.shape[1], [], latents
        for k in range(1, self.prediction_horizon + 1):
            left = length - k * stride  # starts from which k strides stay within the text
            if left < 1:
                break
            action = None if actions is None else _averaged(actions, (k - 1) * stride, stride, left)
            state = self.predict(state[:, :left], action, level)
            errors.append((state - goals[:, k * stride :]).square().mean())
        return errors

    def _regulariser(self, latents: Tensor) -> Tensor:
        if self.config.regulariser == "sigreg":
            return sigreg(latents)
        return (
            variance_covariance(latents) if self.config.regulariser == "variance_covariance" else latents.new_zeros(())
        )

    def _check(self, x: Tensor) -> None:
        if x.dim() < 3 or 0 in x.shape[:2]:
            raise ValueError(f"x: Expected (batch, time, ...) with something in it, got {tuple(x.shape)}")
        if self._width and (x.shape[-1] != self._width or not x.is_floating_point()):
            raise ValueError(
                f"x: Expected floats (batch, time, {self._width}), got {tuple(x.shape)} of {x.dtype}; set d_input "
                "to the width of an observation, or pass a module of your own as observe"
            )

    def _check_actions(self, actions: Tensor | None) -> None:
        width = 0 if actions is None else actions.shape[-1]
        if width != self.config.d_action:
            raise ValueError(
                f"actions: have width {width}, d_action = {self.config.d_action}; give (batch, time, d_action), or "
                "None for a world without actions"
            )


def _averaged(actions: Tensor, first: int, stride: int, count: int) -> Tensor:
    """Mean action of each stride: (B, count, d_action), the i-th over [i + first, i + first + stride)."""
    windows = actions.unfold(1, stride, 1).mean(-1)
    return windows[:, first : first + count]
