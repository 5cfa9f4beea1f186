"""How many directions the critical weights really use.

The one idea: singular values say it three ways. Stable rank |W|_F^2 / s_1^2; effective rank, the exponential of the
entropy of s / sum(s) (Roy and Vetterli 2007); and the number of singular values that hold 99 % of the energy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from nexus.core.state_space import HybridLM
from nexus_final.profiling.components import Site, way_back


def spectral_ranks(weight: Tensor, energy: float = 0.99) -> dict[str, float]:
    """The three ranks of a matrix, and its largest possible one."""
    s = torch.linalg.svdvals(weight.detach().double())
    power = s.pow(2)
    share = s / s.sum()
    held = power.cumsum(0) / power.sum()
    return {
        "full_rank": min(weight.shape),
        "stable_rank": (power.sum() / power[0]).item(),
        "effective_rank": torch.special.entr(share).sum().exp().item(),
        "rank_99": int((held < energy).sum()) + 1,
    }


def spectrum(model: HybridLM, critical: Iterable[Site], tick: Callable[[], None]) -> list[dict[str, Any]]:
    """The ranks of the ways back into the residual stream at the given sites."""
    rows = []
    for layer, part in critical:
        matrix = "o_proj" if part == "attention" else "down_proj"
        rows.append({"layer": layer, "matrix": matrix, **spectral_ranks(way_back(model, (layer, part)).weight)})
        tick()
    return rows
