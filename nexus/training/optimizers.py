"""Optimisers by name: torch's own where it has one, and those that it lacks.

The one idea: one door for all. AdamW (arXiv:1711.05101), Adafactor (arXiv:1804.04235) and Muon (arXiv:2502.16982) are
torch's. Lion (arXiv:2302.06675), LAMB (arXiv:1904.00962), Shampoo (arXiv:1802.09568), SOAP (arXiv:2409.11321),
Schedule-Free (arXiv:2405.15682) and Adam with 8-bit states (arXiv:2110.02861) are in `nexus.training.optim`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from nexus.training.optim.adam8bit import AdamW8bit
from nexus.training.optim.lamb import Lamb
from nexus.training.optim.lion import Lion
from nexus.training.optim.schedule_free import ScheduleFreeAdamW
from nexus.training.optim.shampoo import Shampoo
from nexus.training.optim.soap import SOAP

Groups = list[dict[str, Any]]
NO_DECAY_DIMENSIONS = 2  # vectors (norms, biases) aren't drawn to zero
_EMBEDDINGS = (nn.Embedding,)


def _adamw(groups: Groups, lr: float, **options: Any) -> Optimizer:
    return torch.optim.AdamW(groups, lr=lr, fused=_fused(groups), **{"betas": (0.9, 0.95), **options})


def _fused(groups: Groups) -> bool:
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for g in groups for p in g["params"])


def _adafactor(groups: Groups, lr: float, **options: Any) -> Optimizer:
    return torch.optim.Adafactor(groups, lr=lr, **options)


def _sgd(groups: Groups, lr: float, **options: Any) -> Optimizer:
    return torch.optim.SGD(groups, lr=lr, **{"momentum": 0.9, **options})


OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = MappingProxyType(
    {
        "sgd": _sgd,
        "adamw": _adamw,
        "adafactor": _adafactor,
        "lion": Lion,
        "muon": torch.optim.Muon,  # matrices only: `make_optimizer` adds AdamW for the rest
        "lamb": Lamb,
        "shampoo": Shampoo,
        "soap": SOAP,
        "schedule_free": ScheduleFreeAdamW,
        "adamw8bit": AdamW8bit,
    }
)


class Optimizers(Optimizer):
    """Several optimisers that step together, each with its own parameters; one state dict, one list of groups."""

    def __init__(self, *parts: Optimizer) -> None:
        self.parts = parts
        super().__init__([g for part in parts for g in part.param_groups], {})
        # the very groups of the parts, so that a rate set here arrives there
        self.param_groups = [g for part in parts for g in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step all parts."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """One state dict for each part."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [g for part in self.parts for g in part.param_groups]


def parameter_groups(model: nn.Module, weight_decay: float) -> Groups:
    """Matrices with weight decay, and vectors, embeddings left out of it; each parameter once, frozen ones not at
    all."""
    embeddings = {id(p) for m in model.modules() if isinstance(m, _EMBEDDINGS) for p in m.parameters()}
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            small = parameter.dim() < NO_DECAY_DIMENSIONS or id(parameter) in embeddings
            (kept if small else decayed).append(parameter)
    groups: Groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def make_optimizer(
    name: str,
    model: nn.Module | Iterable[nn.Parameter],
    learning_rate: float,
    weight_decay: float = 0.01,
    **options: Any,
) -> Optimizer:
    """An optimiser for a model's trainable parameters.

    Args:
        name: a key of `OPTIMIZERS`.
        model: a module (vectors and embeddings get no weight decay), or parameters (all get it).
        options: what the optimiser takes besides.

    Raises:
        ValueError: the name is unknown, or nothing is trainable.
    """
    if name not in OPTIMIZERS:
        near = difflib.get_close_matches(name, OPTIMIZERS, n=1)
        raise ValueError(f"optimizer={name!r}: is unknown; use {near[0] if near else ', '.join(OPTIMIZERS)}")
    if isinstance(model, nn.Module):
        groups = parameter_groups(model, weight_decay)
    else:
        groups = [{"params": [p for p in model if p.requires_grad], "weight_decay": weight_decay}]
    if not any(group["params"] for group in groups):
        raise ValueError("model: has no trainable parameter; set requires_grad=True on what shall learn")
    if name == "muon":
        return _muon(groups, learning_rate, **options)
    return OPTIMIZERS[name](groups, lr=learning_rate, **options)


def _muon(groups: Groups, lr: float, **options: Any) -> Optimizer:
    """Muon for matrices that are decayed (not embeddings), AdamW for the rest, as in arXiv:2502.16982, section 2."""
    matrices: list[nn.Parameter] = []
    rest: Groups = []
    for group in groups:
        inside = [p for p in group["params"] if p.dim() == 2 and group["weight_decay"]]
        outside = [p for p in group["params"] if not (p.dim() == 2 and group["weight_decay"])]
        matrices += inside
        rest += [{**group, "params": outside}] if outside else []
    if not matrices:
        raise ValueError("optimizer='muon': there is no matrix to orthogonalise; use adamw, or weight_decay above 0")
    decay = max(group["weight_decay"] for group in groups)
    options = {"adjust_lr_fn": "match_rms_adamw", **options}
    muon = torch.optim.Muon(matrices, lr=lr, weight_decay=decay, **options)
    return Optimizers(muon, _adamw(rest, lr)) if rest else muon
