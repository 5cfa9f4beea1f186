"""A run that is saved, thrown away and taken up again, beside the run that was never interrupted."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch",)
TOLERANCE = 0.0
MUTATIONS = (
    Mutation("torch's generator forgotten", '    torch.set_rng_state(state["torch"].cpu())\n', ""),
    Mutation("numpy's generator forgotten",
             "    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))\n", ""),
    Mutation("Python's generator forgotten", "    random.setstate((version, tuple(words.tolist()), gauss))\n", ""),
    Mutation("place in numpy's stream lost", "np.uint32), position, has_gauss", "np.uint32), 0, has_gauss"),
    Mutation("the previous one is loaded", "candidates = [file for file in (path, sibling(path, \"previous\"))",
             "candidates = [file for file in (sibling(path, \"previous\"), path)"),
)  # fmt: skip


def _net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 2))


def example(seed: int = 0) -> Example:
    """The small network that is trained, and a batch."""
    return Example(_net(seed), (torch.randn(3, 4),))


class _Run:
    def __init__(self, seed: int) -> None:
        self.model = _net(seed)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.losses: list[float] = []

    def steps(self, count: int) -> None:
        for _ in range(count):
            noise = random.random() + float(np.random.rand()) + float(np.random.randn())  # all three generators
            loss = (self.model(torch.randn(5, 4)) * noise).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.losses.append(float(loss.detach()))

    def payload(self, rng: Any) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "rng": rng}

    def weights(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Losses and weights of six steps after the stop, to the last bit."""
    from nexus.training.checkpoint import load_checkpoint, restore_rng, rng_state, save_checkpoint, seed_everything

    seed_everything(seed)
    whole = _Run(seed)
    whole.steps(3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint_latest.pt"
        save_checkpoint(path, whole.payload(rng_state()))
        whole.steps(4)
        save_checkpoint(path, whole.payload(rng_state()))
        whole.steps(6)
        seed_everything(seed + 99)
        again, saved = _Run(seed + 1), load_checkpoint(path)
    again.model.load_state_dict(saved["model"])
    again.optimizer.load_state_dict(saved["optimizer"])
    restore_rng(saved["rng"])
    again.steps(6)
    yield Comparison("losses after the stop", torch.tensor(again.losses), torch.tensor(whole.losses[-6:]))
    yield Comparison("weights at the end", again.weights(), whole.weights())
