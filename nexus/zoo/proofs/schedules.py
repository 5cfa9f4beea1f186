"""Every learning-rate schedule beside transformers' or torch's, at each of 100 steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch", "transformers")
TOLERANCE = 1e-12
MUTATIONS = (
    Mutation("warm-up from one step on", "return step / max(1, warmup) if step < warmup else None",
             "return (step + 1) / max(1, warmup) if step < warmup else None"),
    Mutation("warm-up not taken off", "return min(1.0, (step - warmup) / max(1, total - warmup))",
             "return min(1.0, step / max(1, total))"),
    Mutation("whole cosine", "low: float = 0.0, cycles: float = 0.5", "low: float = 0.0, cycles: float = 1.0"),
    Mutation("restarts end high", "    if progress >= 1:\n        return low\n", ""),
    Mutation("no restarts", "((cycles * progress) % 1)", "progress"),
    Mutation("square forgotten", "** power) if early is None", "** 1.0) if early is None"),
    Mutation("inverse root from the start", "(step + scale - warmup) / scale", "(step + scale) / scale"),
    Mutation("decay too early", "length = round(total * decay)", "length = round(total * decay) + 1"),
    Mutation("rise one step too long", "rise * total - 1", "rise * total"),
    Mutation("floor forgotten", "return low + (1 - low) * share", "return share"),
)  # fmt: skip
TOTAL, WARMUP = 100, 10


def example(seed: int = 0) -> Example:
    """A layer whose rate is scheduled."""
    torch.manual_seed(seed)
    return Example(nn.Linear(3, 2), (torch.randn(4, 3),))


def _optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)


def _rates(make: Callable[[torch.optim.Optimizer], Any], steps: int) -> Tensor:
    optimizer = _optimizer()
    schedule = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return torch.tensor(found, dtype=torch.float64)


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Rates of both, step by step."""
    import transformers as t

    from nexus.training.schedules import Schedules

    torch_schedules = torch.optim.lr_scheduler
    oracles: dict[tuple[str, float], Callable[[Any], Any]] = {
        ("constant", 0.0): lambda o: t.get_constant_schedule_with_warmup(o, WARMUP),
        ("linear", 0.0): lambda o: t.get_linear_schedule_with_warmup(o, WARMUP, TOTAL),
        ("cosine", 0.0): lambda o: t.get_cosine_schedule_with_warmup(o, WARMUP, TOTAL),
        ("restarts", 0.0): lambda o: t.get_cosine_with_hard_restarts_schedule_with_warmup(o, WARMUP, TOTAL, 3),
        ("polynomial", 0.01): lambda o: t.get_polynomial_decay_schedule_with_warmup(o, WARMUP, TOTAL, 0.01, 2.0),
        ("inverse_sqrt", 0.0): lambda o: t.get_inverse_sqrt_schedule(o, WARMUP),
        ("wsd", 0.0): lambda o: t.get_wsd_schedule(o, WARMUP, 20, num_stable_steps=TOTAL - WARMUP - 20),
    }
    for (name, low), oracle in oracles.items():
        ours = _rates(lambda o, n=name, x=low: Schedules(o, n, TOTAL, WARMUP, x), TOTAL + 1)  # type: ignore[misc]
        yield Comparison(f"{name} over {TOTAL + 1} steps", ours, _rates(oracle, TOTAL + 1))
    yield Comparison(
        "one_cycle",
        _rates(lambda o: Schedules(o, "one_cycle", TOTAL), TOTAL - 1),
        _rates(lambda o: torch_schedules.OneCycleLR(o, 1.0, total_steps=TOTAL), TOTAL - 1),
    )
