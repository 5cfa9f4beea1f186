"""Schedule-Free AdamW: averaging takes the place of the learning-rate schedule. Paper: arXiv:2405.15682."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class ScheduleFreeAdamW(Optimizer):
    """Algorithm 1 of arXiv:2405.15682 in its AdamW form.

    Gradients are taken at y, a blend of the base sequence z and its average x; x is what is used. The parameters hold
    y while training: call `eval()` before looking at the model or saving it for use, and `train()` before going on.

    Args:
        lr: without a schedule, at least AdamW's. warmup_steps: of a linear rise. weight_decay: at y.
        weight_power: the average's weights are ``lr_max ** weight_power`` (`r` and `weight_lr_power` of the paper's
        code).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        warmup_steps: int = 0,
        weight_power: float = 2.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "warmup_steps": warmup_steps}
        running = {"weight_power": weight_power, "k": 0, "training": True, "weight_sum": 0.0, "lr_max": -1.0}
        super().__init__(params, {**defaults, **running})

    @torch.no_grad()
    def eval(self) -> None:
        """Set the parameters to the average x."""
        self._move(training=False)

    @torch.no_grad()
    def train(self) -> None:
        """Set the parameters to y, where the next gradient is taken."""
        self._move(training=True)

    def _move(self, training: bool) -> None:
        for group in self.param_groups:
            if group["training"] == training:
                continue
            first = group["betas"][0]
            weight = 1 - first if training else 1 - 1 / first
            for parameter in group["params"]:
                if "z" in self.state[parameter]:
                    parameter.lerp_(self.state[parameter]["z"], weight)
            group["training"] = training

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update.

        Raises:
            ValueError: the parameters hold x, not y.
        """
        if not all(group["training"] for group in self.param_groups):
            raise ValueError("optimizer: is in eval mode; call optimizer.train() before the next step")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        first, second = group["betas"]
        step = group["k"]
        rise = (step + 1) / group["warmup_steps"] if step < group["warmup_steps"] else 1.0
        rate = group["lr"] * rise
        group["lr_max"] = max(rate, group["lr_max"])
        weight = group["lr_max"] ** group["weight_power"]
        group["weight_sum"] += weight
        share = weight / group["weight_sum"] if group["weight_sum"] else 0.0
        for y in group["params"]:
            if y.grad is None:
                continue
            state = self.state[y]
            if not state:
                state["z"], state["exp_avg_sq"] = y.clone(), torch.zeros_like(y)
            z, square = state["z"], state["exp_avg_sq"]
            square.mul_(second).addcmul_(y.grad, y.grad, value=1 - second)
            scale = (square / (1 - second ** (step + 1))).sqrt_().add_(group["eps"])
            direction = (y.grad / scale).add_(y, alpha=group["weight_decay"])
            # x = (1 - share) x + share z and y = (1 - beta) z + beta x, with x taken out of both
            y.lerp_(z, share).add_(direction, alpha=rate * (first * (1 - share) - 1))
            z.sub_(direction, alpha=rate)
        group["k"] = step + 1
