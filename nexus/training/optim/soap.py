"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner. Paper: arXiv:2409.11321."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nexus.training.optim._each import EachParameter
from nexus.training.optim._kron import along, factor_update

_Bases = list[Tensor | None]


class SOAP(EachParameter):
    """Algorithm 3 of arXiv:2409.11321. The first step only looks at the gradient, as the paper's code does.

    Args:
        betas: of Adam's moments. factor_beta: of the Kronecker factors.
        every: steps between two turns of the basis.
        largest: axes longer than this keep their own basis (the factor would be too large).
        vectors: whether vectors get a basis as well.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        factor_beta: float | None = None,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        every: int = 10,
        largest: int = 10_000,
        vectors: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "every": every}
        more = {"factor_beta": betas[1] if factor_beta is None else factor_beta, "largest": largest, "vectors": vectors}
        super().__init__(params, {**defaults, **more})

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            _start(state, gradient, group)
            return
        state["step"] += 1
        first, second = group["betas"]
        mean, square, bases = state["exp_avg"], state["exp_avg_sq"], state["bases"]
        turned = _into(gradient, bases)
        mean.mul_(first).add_(gradient, alpha=1 - first)
        square.mul_(second).addcmul_(turned, turned, value=1 - second)
        rate = group["lr"] * (1 - second ** state["step"]) ** 0.5 / (1 - first ** state["step"])
        step = _out_of(_into(mean, bases) / (square.sqrt() + group["eps"]), bases)
        parameter.add_(step, alpha=-rate)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        _update_factors(state, gradient, group["factor_beta"])
        if state["step"] % group["every"] == 0:
            _turn(state)


def _start(state: dict[str, Any], gradient: Tensor, group: dict[str, Any]) -> None:
    state["step"] = 0
    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    plain = gradient.dim() == 0 or (gradient.dim() == 1 and not group["vectors"])
    state["factors"] = [None if plain or n > group["largest"] else gradient.new_zeros(n, n) for n in gradient.shape]
    _update_factors(state, gradient, group["factor_beta"])
    state["bases"] = [None if f is None else torch.linalg.eigh(f)[1].flip(1).contiguous() for f in state["factors"]]


def _update_factors(state: dict[str, Any], gradient: Tensor, beta: float) -> None:
    for axis, factor in enumerate(state["factors"]):
        if factor is not None:
            factor.lerp_(factor_update(gradient, axis), 1 - beta)


def _into(tensor: Tensor, bases: _Bases) -> Tensor:
    for axis, basis in enumerate(bases):
        tensor = tensor if basis is None else along(tensor, basis, axis)
    return tensor


def _out_of(tensor: Tensor, bases: _Bases) -> Tensor:
    for axis, basis in enumerate(bases):
        tensor = tensor if basis is None else along(tensor, basis.mT, axis)
    return tensor


def _turn(state: dict[str, Any]) -> None:
    """One power iteration and a QR (Algorithm 4), the largest directions first; the second moment follows their
    order."""
    for axis, (factor, basis) in enumerate(zip(state["factors"], state["bases"], strict=True)):
        if factor is None:
            continue
        order = torch.argsort((basis.mT @ factor @ basis).diagonal(), descending=True)
        state["exp_avg_sq"] = state["exp_avg_sq"].index_select(axis, order)
        state["bases"][axis] = torch.linalg.qr(factor @ basis[:, order])[0]
