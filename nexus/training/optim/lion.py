"""Lion: the sign of a blend of momentum and gradient; half of Adam's memory. Paper: arXiv:2302.06675."""

from __future__ import annotations

from typing import Any

import torch

from nexus.training.optim._each import EachParameter


class Lion(EachParameter):
    """Algorithm 2 of arXiv:2302.06675.

    Args:
        lr: a third to a tenth of AdamW's. betas: of the update's blend, of the momentum.
        weight_decay: decoupled, three to ten times AdamW's.
    """

    def __init__(
        self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def _update(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
        first, second = group["betas"]
        momentum = state["exp_avg"]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        direction = momentum.lerp(gradient, 1 - first).sign_()  # line "update = interp(grad, momentum, beta1)"
        parameter.add_(direction, alpha=-group["lr"])
        momentum.lerp_(gradient, 1 - second)
