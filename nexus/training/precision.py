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
