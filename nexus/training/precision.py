"""In which precision matrix products are taken: bfloat16 where the machine is fast at it, float32 elsewhere.

The one idea: on a CPU with tile instructions bfloat16 is three to five times as fast as float32, with AVX-512's own
bfloat16 twice as fast, and without either six times slower (all measured), so what the hardware says decides, never a
stopwatch: the same machine must choose the same, or a resumed run would not be the run that was interrupted.
"""

from __future__ import annotations

import contextlib
from typing import Literal, get_args

import torch

Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
CPU_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")


def has_fast_bfloat16(device: torch.device | str) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32 ones."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities() if kind == "cpu" else {}
    return any(able.get(name, False) for name in CPU_INSTRUCTIONS)


def resolved(device: torch.device | str, precision: Precision) -> Literal["float32", "bfloat16"]:
    """What ``precision`` comes to on this device.

    Raises:
        ValueError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}: is unknown; use one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        return "bfloat16" if has_fast_bfloat16(device) else "float32"
    return precision


def mixed_precision(
    device: torch.device | str, precision: Precision = "auto"
) -> contextlib.AbstractContextManager[object]:
    """A context in which products of matrices are taken in ``precision``; weights and sums stay as they are.

    Raises:
        ValueError: an unknown precision.
    """
    if resolved(device, precision) == "bfloat16":
        return torch.autocast(torch.device(device).type, torch.bfloat16)
    return contextlib.nullcontext()


# ---- for the trainer: float16 as well, with its loss scale -----------------------------------------------------------


class MixedPrecision:
    """Matrix products in fewer bits, weights and sums in float32 (arXiv:1710.03740), on torch's own `amp`.

    float16 has no numbers below 6e-8, so small gradients would vanish: the loss is scaled up before its backward, and
    gradients are scaled down before the step. A step with infinite gradients is left out and the scale halved; after
    ``growth_interval`` good ones it is doubled (section 3.2 of the paper).

    ::

        precision = MixedPrecision("cuda", "float16")
        with precision.context():
            loss = ...
        precision.scale(loss).backward()
        precision.unscale(optimizer)                 # gradients are true now: look at them, clip them
        stepped = precision.step(optimizer)

    Args:
        dtype: "auto", "float32", "bfloat16" or "float16"; only float16 has a scale.
    """

    def __init__(
        self,
        device: torch.device | str,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        initial_scale: float = 2.0**16,
        growth_interval: int = 2000,
    ) -> None:
        self.device = torch.device(device)
        self.dtype = "float16" if dtype == "float16" else resolved(device, dtype)
        self.scaler = torch.amp.GradScaler(
            self.device.type, initial_scale, growth_interval=growth_interval, enabled=self.dtype == "float16"
        )

    def context(self) -> contextlib.AbstractContextManager[object]:
        """For the forward pass and the loss."""
        if self.dtype == "float16":
            return torch.autocast(self.device.type, torch.float16)
        return mixed_precision(self.device, "bfloat16" if self.dtype == "bfloat16" else "float32")

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss to call backward on."""
        return self.scaler.scale(loss) if self.scaler.is_enabled() else loss

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the gradients true, once a step."""
        if self.scaler.is_enabled():
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Take the optimiser's step unless gradients overflowed, and adapt the scale; tells whether it was taken."""
        if not self.scaler.is_enabled():
            optimizer.step()
            return True
        before = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        return self.scaler.get_scale() >= before

    def state_dict(self) -> dict[str, float]:
        """The scale and its counter."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Set them."""
        if self.scaler.is_enabled() and state:
            self.scaler.load_state_dict(state)
