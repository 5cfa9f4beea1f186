"""Shampoo: a preconditioner for each axis of a tensor instead of one for each number. Paper: arXiv:1802.09568."""

from __future__ import annotations

from typing import Any

import torch

from nexus.training.optim._each import EachParameter
from nexus.training.optim._kron import along, factor_update, inverse_root


class Shampoo(EachParameter):
    """Algorithm 2 of arXiv:1802.09568: ``G`` times ``H_i^(-1/k)`` along each of its k axes.

    Args:
        momentum: of the preconditioned gradients' running sum, 0 for none.
        every: steps between two new roots, the costly part.
        eps: added to the factors' diagonals.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-1,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        eps: float = 1e-4,
        every: int = 1,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eps": eps, "every": every}
        super().__init__(params, defaults)

    def _update(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            sizes = parameter.shape if parameter.dim() else (1,)
            state["factors"] = [torch.zeros(n, n, dtype=parameter.dtype, device=parameter.device) for n in sizes]
            state["roots"] = [torch.empty_like(f) for f in state["factors"]]
            state["momentum"] = torch.zeros_like(parameter)
        gradient = gradient.add(parameter, alpha=group["weight_decay"]) if group["weight_decay"] else gradient
        shaped = gradient if gradient.dim() else gradient.view(1)
        order = shaped.dim()
        raw = shaped
        for axis, factor in enumerate(state["factors"]):
            factor.add_(factor_update(raw, axis))
            if state["step"] % group["every"] == 0:
                state["roots"][axis].copy_(inverse_root(factor, 2 * order, group["eps"]))
            shaped = along(shaped, state["roots"][axis], axis)
        state["step"] += 1
        state["momentum"].mul_(group["momentum"]).add_(shaped.view_as(parameter))
        parameter.add_(state["momentum"], alpha=-group["lr"])
