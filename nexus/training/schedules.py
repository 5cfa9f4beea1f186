"""Learning-rate schedules: linear, cosine, restarts, polynomial, inverse square root, WSD, one-cycle.

The one idea: a schedule is a pure function from the step to a factor of the rate. It has no state, so a resumed run
can't be out of step with it. Papers: restarts arXiv:1608.03983, inverse square root arXiv:1706.03762 (section 5.3),
warm-up, stable, decay arXiv:2404.06395, one-cycle arXiv:1708.07120.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Schedule = Callable[[int], float]


def _warm_up(step: int, warmup: int) -> float | None:
    return step / max(1, warmup) if step < warmup else None


def _progress(step: int, total: int, warmup: int) -> float:
    """Share of the way from the end of the warm-up to the end, in [0, 1]."""
    return min(1.0, (step - warmup) / max(1, total - warmup))


def _between(low: float, share: float) -> float:
    return low + (1 - low) * share


def constant(step: int, total: int, warmup: int = 0, low: float = 0.0) -> float:
    """Warm-up, then the full rate."""
    return 1.0 if (early := _warm_up(step, warmup)) is None else early


def linear(step: int, total: int, warmup: int = 0, low: float = 0.0) -> float:
    """Warm-up, then a line down to ``low``."""
    early = _warm_up(step, warmup)
    return _between(low, 1 - _progress(step, total, warmup)) if early is None else early


def cosine(step: int, total: int, warmup: int = 0, low: float = 0.0, cycles: float = 0.5) -> float:
    """Warm-up, then half a cosine down to ``low`` (arXiv:1608.03983, equation 5, one period)."""
    early = _warm_up(step, warmup)
    if early is not None:
        return early
    return _between(low, max(0.0, 0.5 * (1 + math.cos(2 * math.pi * cycles * _progress(step, total, warmup)))))


def restarts(step: int, total: int, warmup: int = 0, low: float = 0.0, cycles: int = 3) -> float:
    """Warm-up, then ``cycles`` half cosines, each from the full rate (arXiv:1608.03983, equation 5)."""
    early = _warm_up(step, warmup)
    if early is not None:
        return early
    progress = _progress(step, total, warmup)
    if progress >= 1:
        return low
    return _between(low, max(0.0, 0.5 * (1 + math.cos(math.pi * ((cycles * progress) % 1)))))


def polynomial(step: int, total: int, warmup: int = 0, low: float = 0.0, power: float = 2.0) -> float:
    """Warm-up, then ``(1 - progress)^power`` down to ``low``."""
    early = _warm_up(step, warmup)
    return _between(low, (1 - _progress(step, total, warmup)) ** power) if early is None else early


def inverse_sqrt(step: int, total: int, warmup: int = 0, low: float = 0.0, timescale: int | None = None) -> float:
    """Warm-up, then ``1 / sqrt`` of the step over the time scale (default: the warm-up, or 10,000 without one)."""
    early = _warm_up(step, warmup)
    if early is not None:
        return early
    scale = timescale or warmup or 10_000
    return max(low, 1 / math.sqrt((step + scale - warmup) / scale))


def wsd(step: int, total: int, warmup: int = 0, low: float = 0.0, decay: float = 0.2) -> float:
    """Warm-up, stable, decay (arXiv:2404.06395): the last ``decay`` of all steps fall by half a cosine."""
    early = _warm_up(step, warmup)
    if early is not None:
        return early
    length = round(total * decay)
    start = total - length
    if step < start:
        return 1.0
    return _between(low, 0.5 * (1 + math.cos(math.pi * min(1.0, (step - start) / max(1, length)))))


def one_cycle(
    step: int, total: int, warmup: int = 0, low: float = 4e-6, rise: float = 0.3, start: float = 0.04
) -> float:
    """Half a cosine up from ``start`` over the first ``rise`` of the steps, then one down to ``low``.

    arXiv:1708.07120 with cosines for its lines. ``warmup``, if given, is the length of the rise.
    """
    peak = float(warmup) if warmup else rise * total - 1
    if step <= peak:
        return start + (1 - start) * 0.5 * (1 - math.cos(math.pi * step / max(1e-9, peak)))
    return _between(low, 0.5 * (1 + math.cos(math.pi * min(1.0, (step - peak) / max(1e-9, total - 1 - peak)))))


SCHEDULES: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        "constant": constant,
        "linear": linear,
        "cosine": cosine,
        "restarts": restarts,
        "polynomial": polynomial,
        "inverse_sqrt": inverse_sqrt,
        "wsd": wsd,
        "one_cycle": one_cycle,
    }
)


def make_schedule(name: str, total: int, warmup: int = 0, low: float = 0.0, **options: Any) -> Schedule:
    """The factor of the learning rate at each step, counted from 0.

    Args:
        name: a key of `SCHEDULES`. total: steps of the run. warmup: steps of the linear rise from 0.
        low: factor at the end. options: of the named function, for example ``cycles=3``.

    Raises:
        ValueError: the name is unknown, or steps are out of range.
    """
    if name not in SCHEDULES:
        near = difflib.get_close_matches(name, SCHEDULES, n=1)
        raise ValueError(f"schedule={name!r}: is unknown; use {near[0] if near else ', '.join(SCHEDULES)}")
    if total < 1 or not 0 <= warmup <= total:
        raise ValueError(f"warmup={warmup}: of total={total} steps; give 0 <= warmup <= total and total of 1 or more")
    chosen = SCHEDULES[name]
    if name == "one_cycle" and not low:
        return lambda step: chosen(step, total, warmup, **options)
    return lambda step: chosen(step, total, warmup, low, **options)


class Schedules(LRScheduler):
    """A named schedule as torch's schedulers are used: ``schedule.step()`` after each ``optimizer.step()``.

    Args:
        name, total, warmup, low, options: of :func:`make_schedule`.
    """

    def __init__(
        self, optimizer: Optimizer, name: str, total: int, warmup: int = 0, low: float = 0.0, **options: Any
    ) -> None:
        self._factor = make_schedule(name, total, warmup, low, **options)
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each group."""
        return [base * self._factor(self.last_epoch) for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """The step alone: the rest follows from the arguments."""
        return {"last_epoch": self.last_epoch}
