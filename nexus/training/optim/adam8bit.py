"""AdamW whose two moments are kept in 8 bits a number. Paper: arXiv:2110.02861.

The one idea: blocks of 256 numbers share one scale, and a code of 256 values that lie dense near zero ("dynamic tree",
section 1.3 of the paper) keeps small moments apart from zero. The step itself is taken in float32.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from nexus.training.optim._each import EachParameter

BLOCK = 256
SMALLEST = 4096  # tensors with fewer numbers stay in float32, as in the paper


@cache
def code(signed: bool) -> Tensor:
    """The 256 values, ascending: a leading-zero exponent of base ten, and what bits are left as a linear fraction."""
    values = [0.0, 1.0]
    for exponent in range(7):  # 10^-6 .. 10^0; each further leading zero costs one bit of fraction
        edges = torch.linspace(0.1, 1.0, 2 ** (exponent + (0 if signed else 1)) + 1, dtype=torch.float64)
        middles = (10.0 ** (exponent - 6) * (edges[:-1] + edges[1:]) / 2).tolist()
        values += middles + ([-v for v in middles] if signed else [])
    assert len(values) == 256, len(values)
    return torch.tensor(sorted(values), dtype=torch.float32)


def quantize(x: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Codes (uint8, blocks of 256, the last one padded) and the scale of each block (its largest size)."""
    flat = torch.nn.functional.pad(x.detach().float().flatten(), (0, -x.numel() % BLOCK)).view(-1, BLOCK)
    scale = flat.abs().amax(1)
    values = code(signed).to(x.device)
    middles = (values[1:] + values[:-1]) / 2
    relative = flat / scale.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(1)
    codes = torch.bucketize(relative, middles)
    if not signed:  # a second moment that rounds to zero would divide its mean by eps: the paper's code risks that
        codes = torch.where(flat > 0, codes.clamp(min=1), codes)
    return codes.to(torch.uint8), scale


def dequantize(codes: Tensor, scale: Tensor, like: Tensor, signed: bool) -> Tensor:
    """What `quantize` stood for, in float32 and the shape of ``like``."""
    flat = code(signed).to(codes.device)[codes.long()] * scale.unsqueeze(1)
    return flat.flatten()[: like.numel()].view(like.shape)


class AdamW8bit(EachParameter):
    """AdamW (arXiv:1711.05101) with block-wise 8-bit moments: 2 bytes of state for each weight instead of 8.

    Args:
        smallest: tensors with fewer numbers keep float32 moments.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        smallest: int = SMALLEST,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "smallest": smallest}
        super().__init__(params, defaults)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, but codes stay codes: torch would cast them to the parameter's type."""
        codes = [
            {name: value for name, value in state.items() if isinstance(value, Tensor) and value.dtype == torch.uint8}
            for state in state_dict["state"].values()
        ]
        super().load_state_dict(state_dict)
        for state, held in zip(self.state.values(), codes, strict=True):
            state.update({name: value.clone() for name, value in held.items()})

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], gradient.float()
        small = parameter.numel() < group["smallest"]
        if not state:
            state["step"] = 0
            for name in ("exp_avg", "exp_avg_sq"):
                _put(state, name, torch.zeros_like(parameter, dtype=torch.float32), small)
        state["step"] += 1
        first, second = group["betas"]
        mean, square = (_get(state, name, parameter) for name in ("exp_avg", "exp_avg_sq"))
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        denominator = (square / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
        parameter.addcdiv_(mean, denominator, value=-group["lr"] / (1 - first ** state["step"]))
        _put(state, "exp_avg", mean, small)
        _put(state, "exp_avg_sq", square, small)


def _put(state: dict[str, Any], name: str, value: Tensor, small: bool) -> None:
    if small:
        state[name] = value
    else:
        state[f"{name}_codes"], state[f"{name}_scale"] = quantize(value, signed=name == "exp_avg")


def _get(state: dict[str, Any], name: str, like: Tensor) -> Tensor:
    if name in state:
        return state[name]
    return dequantize(state[f"{name}_codes"], state[f"{name}_scale"], like, signed=name == "exp_avg")
