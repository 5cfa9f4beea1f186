"""Optimisers that torch lacks beside pytorch-optimizer's and schedulefree's, over 100 steps in double precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch", "pytorch-optimizer", "schedulefree")
TOLERANCE = 2e-6  # the oracle of SOAP takes its QR in float32; the others are equal to 1e-7 (tests)
_OPTIM = "nexus/training/optim/"
MUTATIONS = (
    Mutation("Lion: momentum first", "direction = momentum.lerp(gradient, 1 - first).sign_()",
             "direction = momentum.lerp_(gradient, 1 - first).sign()", _OPTIM + "lion.py"),
    Mutation("Lion: betas exchanged", "momentum.lerp_(gradient, 1 - second)", "momentum.lerp_(gradient, 1 - first)",
             _OPTIM + "lion.py"),
    Mutation("LAMB: decay outside of the trust", 'group["eps"]) + group["weight_decay"] * parameter', 'group["eps"])',
             _OPTIM + "lamb.py"),
    Mutation("LAMB: no trust", 'parameter.sub_(group["lr"] * trust * update)', 'parameter.sub_(group["lr"] * update)',
             _OPTIM + "lamb.py"),
    Mutation("Schedule-Free: uniform average of z", "y.lerp_(z, share)", "y.lerp_(z, 0.5 * share)",
             _OPTIM + "schedule_free.py"),
    Mutation("Schedule-Free: gradient at x", "alpha=rate * (first * (1 - share) - 1))", "alpha=-rate)",
             _OPTIM + "schedule_free.py"),
    Mutation("Schedule-Free: rate not in the weight", 'weight = group["lr_max"] ** group["weight_power"]',
             'weight = 1.0', _OPTIM + "schedule_free.py"),
    Mutation("SOAP: order of the basis not followed", 'state["exp_avg_sq"].index_select(axis, order)',
             'state["exp_avg_sq"]', _OPTIM + "soap.py"),
    Mutation("SOAP: basis never turned", 'if state["step"] % group["every"] == 0:', "if False:", _OPTIM + "soap.py"),
    Mutation("SOAP: moment of the plain gradient", "addcmul_(turned, turned", "addcmul_(gradient, gradient",
             _OPTIM + "soap.py"),
)  # fmt: skip


def _net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()


def example(seed: int = 0) -> Example:
    """The small network that is trained, and a batch."""
    return Example(_net(seed).float(), (torch.randn(4, 5),))


def _trained(make: Callable[[Any], Any], seed: int) -> Tensor:
    model, draw = _net(seed), torch.Generator().manual_seed(seed + 1)
    optimizer = make(model.parameters())
    for _ in range(100):
        x = torch.randn(16, 5, generator=draw, dtype=torch.float64)
        target = torch.stack((x.sum(1), x[:, 0] * x[:, 1], x[:, 2]), 1)
        optimizer.zero_grad()
        (model(x) - target).square().mean().backward()
        optimizer.step()
    if hasattr(optimizer, "eval"):
        optimizer.eval()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def prove(seed: int = 0) -> Iterator[Comparison]:
    """All weights after 100 steps from one start, on one stream of batches."""
    import pytorch_optimizer as p
    import schedulefree

    from nexus.training.optim.lamb import Lamb
    from nexus.training.optim.lion import Lion
    from nexus.training.optim.schedule_free import ScheduleFreeAdamW
    from nexus.training.optim.soap import SOAP

    def training(optimizer: Any) -> Any:
        optimizer.train()
        return optimizer

    free: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.99), "weight_decay": 0.1, "warmup_steps": 20}
    lamb: dict[str, Any] = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-12, "weight_decay": 0.1}
    soap: dict[str, Any] = {"lr": 3e-3, "betas": (0.95, 0.9), "weight_decay": 0.01}
    pairs: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
        "Lion": (lambda w: Lion(w, 1e-3, weight_decay=0.1), lambda w: p.Lion(w, 1e-3, (0.9, 0.99), weight_decay=0.1)),
        "LAMB": (
            lambda w: Lamb(w, **lamb, bias_correction=False),
            lambda w: p.Lamb(w, **lamb, weight_decouple=False, adam_debias=True),
        ),
        "Schedule-Free": (
            lambda w: ScheduleFreeAdamW(w, **free),
            lambda w: training(schedulefree.AdamWScheduleFree(w, **free, foreach=False)),
        ),
        "SOAP": (
            lambda w: SOAP(w, **soap, factor_beta=0.8, every=5),
            lambda w: p.SOAP(w, **soap, shampoo_beta=0.8, precondition_frequency=5, correct_bias=True),
        ),
    }
    for name, (ours, theirs) in pairs.items():
        yield Comparison(f"weights after 100 steps of {name}", _trained(ours, seed), _trained(theirs, seed))
