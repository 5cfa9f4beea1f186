"""Mixed precision beside a hand-written loop on torch.amp: the same skips, scales and weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch",)
TOLERANCE = 1e-12
MUTATIONS = (
    Mutation("loss not scaled", "return self.scaler.scale(loss) if self.scaler.is_enabled() else loss", "return loss"),
    Mutation("scale never adapted", "        self.scaler.update()\n", ""),
    Mutation("bfloat16 for float16", "return torch.autocast(self.device.type, torch.float16)",
             "return torch.autocast(self.device.type, torch.bfloat16)"),
    Mutation("growth interval forgotten", "growth_interval=growth_interval", "growth_interval=2000"),
    Mutation("overflow not skipped", "self.scaler.step(optimizer)", "optimizer.step()"),
)  # fmt: skip
STEPS = 8


def _net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def _input(seed: int, step: int) -> Tensor:
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed + step))
    return x * (1e30 if step == 3 else 1.0)  # one batch overflows


def example(seed: int = 0) -> Example:
    """The small network that is trained, and a batch."""
    return Example(_net(seed), (_input(seed, 0),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Weights and scale after each step, one of which overflows."""
    from nexus.training.precision import MixedPrecision

    ours, theirs = _net(seed), _net(seed)
    one, other = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (ours, theirs))
    precision = MixedPrecision("cpu", "float16", initial_scale=1024.0, growth_interval=2)
    scaler = torch.amp.GradScaler("cpu", 1024.0, growth_interval=2)
    for step in range(STEPS):
        one.zero_grad()
        with precision.context():
            loss = ours(_input(seed, step)).square().mean()
        precision.scale(loss).backward()
        precision.unscale(one)
        precision.step(one)
        other.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = theirs(_input(seed, step)).square().mean()
        scaler.scale(loss).backward()
        scaler.step(other)
        scaler.update()
        weights = [torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (ours, theirs)]
        yield Comparison(f"weights after step {step + 1}", *weights)
        yield Comparison(
            f"scale after step {step + 1}", *(torch.tensor(s.get_scale()) for s in (precision.scaler, scaler))
        )
