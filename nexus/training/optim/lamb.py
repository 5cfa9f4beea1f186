"""LAMB: Adam whose step for each layer is as long as the layer's weights allow. Paper: arXiv:1904.00962."""

from __future__ import annotations

from typing import Any

import torch

from nexus.training.optim._each import EachParameter


class Lamb(EachParameter):
    """Algorithm 2 of arXiv:1904.00962, with phi the identity clipped to ``max_trust``.

    Args:
        lr: of the normalised step. betas, eps: of the moments. weight_decay: inside the normalised step.
        bias_correction: divide the moments by ``1 - beta^t``. max_trust: largest norm of weights that counts.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        bias_correction: bool = True,
        max_trust: float = 10.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "bias_correction": bias_correction, "max_trust": max_trust})

    def _update(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        first, second = group["betas"]
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.mul_(first).add_(gradient, alpha=1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        if group["bias_correction"]:
            mean_hat, square_hat = mean / (1 - first ** state["step"]), square / (1 - second ** state["step"])
        else:
            mean_hat, square_hat = mean, square
        update = mean_hat / (square_hat.sqrt() + group["eps"]) + group["weight_decay"] * parameter
        weights, length = parameter.norm().clamp(max=group["max_trust"]), update.norm()
        trust = torch.where((weights > 0) & (length > 0), weights / length, torch.ones_like(length))
        parameter.sub_(group["lr"] * trust * update)
