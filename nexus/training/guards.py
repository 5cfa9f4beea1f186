"""Guards of a training step: a hot GPU pauses it, non-finite numbers skip it, repeated ones ask for a roll-back.

Running out of memory has its own file, `oom.py`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from nexus.training.control import RunControl

LOG = logging.getLogger("nexus.guards")
Sensor = Callable[[], float]


class TrainingDiverged(ValueError):
    """Training keeps running into non-finite numbers; the message says what to change."""


# ---- temperature -----------------------------------------------------------------------------------------------------


def nvml_sensor() -> tuple[Sensor | None, str]:
    """Return a function that reads the hottest GPU in degrees Celsius, or None and the reason why there is none."""
    try:
        import pynvml
    except ImportError:
        return None, "the package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        read = _reader(pynvml, handles)
        if not handles:
            return None, "no NVIDIA GPU is there"
        read()
    except pynvml.NVMLError as error:
        return None, f"NVML says: {error}"
    return read, "NVML"


def _reader(pynvml: Any, handles: list[Any]) -> Sensor:
    def read() -> float:
        return max(float(pynvml.nvmlDeviceGetTemperature(one, pynvml.NVML_TEMPERATURE_GPU)) for one in handles)

    return read


class ThermalGuard:
    """Pause while the GPU is above `limit` degrees, until it is down to `resume` (hysteresis).

    Each pause lasts `pause` seconds and ends early when the run is asked to stop; all pauses of a run together are
    capped at `cap` seconds, so that a broken fan or sensor can't hang it. A missing sensor is said once.
    """

    def __init__(
        self,
        control: RunControl,
        *,
        limit: float = 83.0,
        resume: float = 78.0,
        pause: float = 30.0,
        cap: float = 3600.0,
        sensor: Sensor | None = None,
        log: logging.Logger = LOG,
    ) -> None:
        self.control, self.log = control, log
        self.limit, self.resume, self.pause, self.cap = limit, resume, pause, cap
        self.paused_seconds = 0.0
        self.sensor = sensor
        self._capped = False
        if sensor is None:
            self.sensor, why = nvml_sensor()
            if self.sensor is None:
                log.info("no GPU temperature sensor (%s): the run is thermally unguarded", why)

    def check(self) -> float:
        """Call it between steps. Pauses if needed and returns the seconds it paused (0.0 when all is cool)."""
        degrees = self._read()
        if degrees is None or degrees <= self.limit:
            return 0.0
        before = self.paused_seconds
        while degrees is not None and degrees > self.resume and self._may_pause(degrees):
            self.log.warning("GPU at %.0f C (limit %.0f C): pausing %.0f s", degrees, self.limit, self.pause)
            stopped = self.control.wait(self.pause)
            self.paused_seconds += self.pause
            if stopped:
                break
            degrees = self._read()
        return self.paused_seconds - before

    def _may_pause(self, degrees: float) -> bool:
        if self.paused_seconds + self.pause <= self.cap:
            return True
        if not self._capped:
            self._capped = True
            self.log.warning(
                "GPU still at %.0f C after %.0f s of pauses: going on without; check its fan", degrees, self.cap
            )
        return False

    def _read(self) -> float | None:
        if self.sensor is None:
            return None
        try:
            return self.sensor()
        except Exception as error:  # a driver reset raises NVML's own types; a dead sensor must not end the run
            self.log.warning("GPU temperature sensor failed (%s): the run goes on unguarded", error)
            self.sensor = None
            return None


# ---- non-finite numbers ----------------------------------------------------------------------------------------------


class Verdict(Enum):
    """What to do with a step: take it, skip it, or go back to the last good checkpoint."""

    STEP = "step"
    SKIP = "skip"
    ROLL_BACK = "roll back"


def gradients_finite(parameters: Iterable[Tensor]) -> bool:
    """Tell whether every gradient that exists holds finite numbers only."""
    return all(bool(torch.isfinite(p.grad).all()) for p in parameters if p.grad is not None)


def _number(value: Tensor | float) -> float:
    return float(value.detach().item()) if isinstance(value, Tensor) else float(value)


class NanGuard:
    """Count steps whose loss or gradient isn't finite, and say what to do with each.

    One such step is skipped; `patience` in a row ask for a roll-back; after `max_roll_backs` of those training ends
    with `TrainingDiverged`, because repeating the same numbers would never end.
    """

    def __init__(self, patience: int = 3, max_roll_backs: int = 3, log: logging.Logger = LOG) -> None:
        self.patience, self.max_roll_backs, self.log = patience, max_roll_backs, log
        self.in_a_row = 0
        self.skipped = 0
        self.roll_backs = 0

    def judge(self, loss: Tensor | float, gradient_norm: Tensor | float = 0.0) -> Verdict:
        """Judge a step by its loss and gradient norm (as `clip_grad_norm_` returns it), before the optimiser's step.

        On `ROLL_BACK` the caller loads its last good checkpoint and calls `rolled_back()`.

        Raises:
            TrainingDiverged: a roll-back is due, but all are used up.
        """
        loss, gradient_norm = _number(loss), _number(gradient_norm)
        if math.isfinite(loss) and math.isfinite(gradient_norm):
            self.in_a_row = 0
            return Verdict.STEP
        self.in_a_row += 1
        self.skipped += 1
        self.log.warning(
            "non-finite step: loss %s, gradient norm %s; skipped (%d in a row, %d in all)",
            loss, gradient_norm, self.in_a_row, self.skipped,
        )  # fmt: skip
        if self.in_a_row < self.patience:
            return Verdict.SKIP
        if self.roll_backs >= self.max_roll_backs:
            raise TrainingDiverged(
                f"learning_rate: training met non-finite numbers again after {self.roll_backs} roll-backs. "
                "cure: lower learning_rate, or train in float32"
            )
        return Verdict.ROLL_BACK

    def rolled_back(self) -> None:
        """Tell the guard that the last good checkpoint was loaded."""
        self.roll_backs += 1
        self.in_a_row = 0

    def state_dict(self) -> dict[str, int]:
        """The counters, for a checkpoint. A roll-back must not restore them: it would never end."""
        return {"in_a_row": self.in_a_row, "skipped": self.skipped, "roll_backs": self.roll_backs}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Set the counters from `state_dict`'s result."""
        self.in_a_row, self.skipped, self.roll_backs = (state[k] for k in ("in_a_row", "skipped", "roll_backs"))
