"""Adaptive compute: a state is refined by descending an energy until it settles, so hard inputs get more steps.

The one idea: ``E(y; x) = |y|^2 / 2 - sum log cosh(W y + U x + b)``. Its curvature is at most 1 whatever the weights
are, so the step ``y <- y - s dE/dy`` with s <= 1 never raises the energy and ends at a rest point; an easy input is at
rest soon. The input enters at every step ("recall"), which settles loops that would else drift (arXiv:2604.15259).
Sources: Hopfield 1984 (energy of a continuous network), Du et al. 2022 (arXiv:2206.15448, iterative energy
minimisation), Bai et al. 2019 (arXiv:1909.01377, implicit gradients at a rest point).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.base import BaseConfig, NexusModule, fault, in_range, positive

__all__ = ["EnergyConfig", "EnergyInfo", "EnergyModule"]

Confidence = Callable[[Tensor], Tensor]  # refined states (..., d_model) -> probability (...) of the answer they give
SPACE = {"token": 0, "line": 1, "grid": 2}  # dimensions that a coupling spans


@dataclass(frozen=True, kw_only=True)
class EnergyConfig(BaseConfig):
    """Sizes and stopping rule of an :class:`EnergyModule`.

    ``coupling`` says what settles together: "token" each position alone, which keeps the order of time, "line" and
    "grid" neighbours within ``reach`` on a line or in a plane. A unit stops once its gradient (root mean square over
    channels, at the place that is least at rest) is below ``convergence_threshold``, once its answer is surer than
    ``confidence_threshold``, or at ``max_iterations``.
    ``gradient``: "unrolled" goes back through every step, "implicit" through the rest point alone, in constant memory.
    """

    d_model: int = 256
    d_hidden: int = 0  # 2 d_model
    coupling: Literal["token", "line", "grid"] = "token"
    reach: int = 1
    max_iterations: int = 16
    step_size: float = 1.0
    convergence_threshold: float = 1e-2
    confidence_threshold: float = 0.99
    gradient: Literal["unrolled", "implicit"] = "unrolled"

    def __post_init__(self) -> None:
        if not self.d_hidden and isinstance(self.d_model, int):
            object.__setattr__(self, "d_hidden", 2 * self.d_model)
        super().__post_init__()

    def faults(self) -> list[str]:
        """Everything that is out of range, one line each."""
        found = positive(self, "d_model", "d_hidden", "reach", "max_iterations", "step_size")
        found += [*in_range(self, "convergence_threshold", 0), *in_range(self, "confidence_threshold", 0, 1)]
        if self.step_size > 1:
            found.append(fault("step_size", self.step_size, "may raise the energy", "give a number in (0, 1]"))
        return found

    @classmethod
    def tiny(cls, **changes: object) -> Self:
        """An energy that builds and settles in milliseconds."""
        return cls(**{"d_model": 32, "max_iterations": 8, **changes})  # type: ignore[arg-type]


@dataclass(frozen=True)
class EnergyInfo:
    """How a descent went. A unit is a position for "token", a whole sample otherwise.

    Attributes:
        per_unit: (B, T) or (B,) steps each unit took.
        energy: energy of each unit at the end, in the shape of ``per_unit``.
        settled: whether each unit stopped because it was at rest or sure, and not because time was up.
    """

    per_unit: Tensor
    energy: Tensor
    settled: Tensor

    @property
    def per_sample(self) -> Tensor:
        """(B,) steps of the slowest unit of each sample."""
        return self.per_unit if self.per_unit.dim() == 1 else self.per_unit.amax(1)

    def as_dict(self) -> dict[str, Any]:
        """For ``info['energy_info']``: ``iterations`` is the mean over units as a number, the rest are tensors."""
        return {
            "iterations": float(self.per_unit.float().mean()),
            "per_sample": self.per_sample,
            "per_unit": self.per_unit,
            "energy": self.energy,
            "settled": self.settled,
        }


class EnergyModule(NexusModule):
    """Refines states (B, T, d_model), or (B, H, W, d_model) for "grid", by energy descent.

    Attributes:
        convergence_threshold, confidence_threshold, max_iterations, step_size: as configured; may be changed any time.
    """

    config_class = EnergyConfig
    config: EnergyConfig

    def __init__(self, config: EnergyConfig) -> None:
        super().__init__(config)
        c = self.config
        self.convergence_threshold, self.confidence_threshold = c.convergence_threshold, c.confidence_threshold
        self.max_iterations, self.step_size = c.max_iterations, c.step_size
        kernel = [2 * c.reach + 1] * SPACE[c.coupling]
        self.weight = nn.Parameter(torch.empty(c.d_hidden, c.d_model, *kernel))  # W
        self.recall = nn.Linear(c.d_model, c.d_hidden)  # U and b
        self.out = nn.Linear(c.d_model, c.d_model, bias=False)
        # small enough for steps to contract at first: W^T W has no eigenvalue above about 0.4^2 (1 + sqrt 2)^2 = 0.93
        nn.init.normal_(self.weight, std=0.4 * (c.d_model * math.prod(kernel)) ** -0.5)
        nn.init.normal_(self.out.weight, std=0.1 * c.d_model**-0.5)

    # ---- the energy -------------------------------------------------------------------------------------------------

    def energy(self, y: Tensor, x: Tensor) -> Tensor:
        """E(y; x) of each unit: (B, T) for "token", else (B,); y, x (B, ..., d_model)."""
        return self._energy(y, self.recall(x))

    def _energy(self, y: Tensor, drive: Tensor) -> Tensor:
        pre = self._couple(y) + drive
        log_cosh = pre.abs() + F.softplus(-2 * pre.abs()) - math.log(2)
        each = y.square().sum(-1) / 2 - log_cosh.sum(-1)
        return each if self.config.coupling == "token" else each.flatten(1).sum(1)

    def slope(self, y: Tensor, x: Tensor) -> Tensor:
        """dE/dy in the shape of ``y``; x as in :meth:`energy`."""
        return self._slope(y, self.recall(x))

    def _slope(self, y: Tensor, drive: Tensor) -> Tensor:
        return y - self._couple_back(torch.tanh(self._couple(y) + drive))

    def _couple(self, y: Tensor) -> Tensor:
        """W y over neighbours: (B, ..., d_model) to (B, ..., d_hidden)."""
        if self.config.coupling == "token":
            return F.linear(y, self.weight)
        conv = F.conv1d if self.config.coupling == "line" else F.conv2d
        return conv(y.movedim(-1, 1), self.weight, padding=self.config.reach).movedim(1, -1)

    def _couple_back(self, h: Tensor) -> Tensor:
        """The transpose of :meth:`_couple`."""
        if self.config.coupling == "token":
            return h @ self.weight
        conv = F.conv_transpose1d if self.config.coupling == "line" else F.conv_transpose2d
        return conv(h.movedim(-1, 1), self.weight, padding=self.config.reach).movedim(1, -1)

    # ---- the descent ------------------------------------------------------------------------------------------------

    def forward(
        self, x: Tensor, confidence: Confidence | None = None, start: Tensor | None = None
    ) -> tuple[Tensor, EnergyInfo]:
        """Refine ``x`` (B, ..., d_model).

        Args:
            confidence: how sure the answer of a refined state is, for leaving early; None leaves on rest alone.
            start: where the descent begins, in the shape of ``x``; zeros if None.

        Returns:
            ``x + out(y)`` with y at rest, and how the descent went.

        Raises:
            ValueError: ``x`` is not of the width, rank or type of the configuration, or empty.
        """
        self._check(x)
        drive = self.recall(x)
        y = torch.zeros_like(x) if start is None else start
        if self.config.gradient == "implicit" and torch.is_grad_enabled():
            with torch.no_grad():
                y, info = self._descend(x, y, drive, confidence)
            y = self._through_rest(y, drive)
        else:
            y, info = self._descend(x, y, drive, confidence)
        return x + self.out(y), info

    def step(self, y: Tensor, drive: Tensor) -> Tensor:
        """One step down; ``drive`` is ``recall(x)``."""
        return y - self.step_size * self._slope(y, drive)

    def _descend(self, x: Tensor, y: Tensor, drive: Tensor, confidence: Confidence | None) -> tuple[Tensor, EnergyInfo]:
        units = x.shape[:-1] if self.config.coupling == "token" else x.shape[:1]
        active = torch.ones(units, dtype=torch.bool, device=x.device)
        steps = torch.zeros(units, dtype=torch.long, device=x.device)
        for _ in range(self.max_iterations):
            slope = self._slope(y, drive)
            y = torch.where(self._spread(active, y), y - self.step_size * slope, y)
            steps = steps + active
            with torch.no_grad():
                active = active & ~self._done(x, y, slope, confidence)
                if not bool(active.any()):
                    break
        with torch.no_grad():
            energy = self._energy(y, drive)
        return y, EnergyInfo(steps, energy, ~active)

    def _done(self, x: Tensor, y: Tensor, slope: Tensor, confidence: Confidence | None) -> Tensor:
        square = slope.square().mean(-1)
        if self.config.coupling != "token":  # news that still travels is at one place: a mean would lose it among many
            square = square.flatten(1).amax(1)
        done = square.sqrt() < self.convergence_threshold
        if confidence is None:
            return done
        sure = confidence(x + self.out(y))
        sure = sure if self.config.coupling == "token" else sure.flatten(1).amin(1)
        return done | (sure > self.confidence_threshold)

    def _spread(self, units: Tensor, y: Tensor) -> Tensor:
        return units.reshape(*units.shape, *[1] * (y.dim() - units.dim()))

    def _through_rest(self, y: Tensor, drive: Tensor) -> Tensor:
        """``y`` at rest with the gradient of the rest point: ``(1 - J^T) g = grad`` solved by repetition."""
        inner = y.detach().requires_grad_()
        stepped = self.step(inner, drive)
        y = self.step(y.detach(), drive)

        def solve(grad: Tensor) -> Tensor:
            total = grad
            for _ in range(50 * self.max_iterations):
                (pulled,) = torch.autograd.grad(stepped, inner, total, retain_graph=True)
                change = grad + pulled - total
                total = total + change
                if float(change.abs().max()) <= 1e-3 * torch.finfo(grad.dtype).eps ** 0.5 * float(total.abs().max()):
                    break
            return total

        if y.requires_grad:
            y.register_hook(solve)
        return y

    def _check(self, x: Tensor) -> None:
        rank = 4 if self.config.coupling == "grid" else 3
        if x.dim() != rank or x.shape[-1] != self.config.d_model or not x.numel() or not x.is_floating_point():
            raise ValueError(
                f"x: Expected tensor with {rank} dimensions and width {self.config.d_model}, got {tuple(x.shape)} of "
                f"{x.dtype}; pass floats (batch, ..., d_model), none of them 0 long"
            )
