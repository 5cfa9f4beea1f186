"""A linear layer by the faster library beside torch's own, in turn: forward, and with both gradients.

    python benchmarks/project.py

Weights change from call to call, as layers do, so that none stays in a cache. The ratio is ours over torch's; below 1
ours is faster. Which library ours takes on this machine is printed too. Writes benchmarks/results/project.json.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.layers.components.project import BY_ONEDNN, linear

RESULTS = Path(__file__).parent / "results" / "project.json"
SHAPES = ((2_816, 512), (512, 1_408))  # of the backbone that benchmarks/backbone.py measures: (out, in)
ROWS = (1, 2, 4, 7, 16, 33, 64, 100, 256, 512, 1_000, 2_048)
ROUNDS, CALLS, BYTES = 7, 6, 64 * 2**20

Map = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Measure, print, write."""
    torch.set_flush_denormal(True)
    result = []
    for out, width in SHAPES:
        weights = [torch.randn(out, width) for _ in range(BYTES // (out * width * 4))]
        for rows in ROWS:
            x = torch.randn(rows, width)
            row: dict[str, float | list[int]] = {"weight": [out, width], "rows": rows}
            for name, call in (("forward", forward), ("training", training)):
                ours, theirs = in_turn(call, x, weights)
                row |= {f"{name}_microseconds": ours * 1e6, f"{name}_ratio": ours / theirs}
            result.append(row)
            print(
                f"{out} x {width}, {rows:>5} rows:", *(f"{k} {v:.2f}" for k, v in row.items() if isinstance(v, float))
            )
    RESULTS.write_text(json.dumps({"by_onednn": BY_ONEDNN, "rows": result}, indent=1) + "\n", encoding="utf-8")


def in_turn(call: Callable[[Map, Tensor, Tensor], None], x: Tensor, weights: list[Tensor]) -> tuple[float, float]:
    """Median seconds of ours and torch's."""
    times: dict[Map, list[float]] = {linear: [], F.linear: []}
    turn = itertools.cycle(weights)
    for _ in range(ROUNDS + 2):  # the first two warm up
        for each, seconds in times.items():
            start = time.perf_counter()
            for _ in range(CALLS):  # several together: a model too stays with one library
                call(each, x, next(turn))
            seconds.append((time.perf_counter() - start) / CALLS)
    ours, theirs = (median(seconds[2:]) for seconds in times.values())
    return ours, theirs


@torch.inference_mode()
def forward(each: Map, x: Tensor, weight: Tensor) -> None:
    """The product alone."""
    each(x, weight)


def training(each: Map, x: Tensor, weight: Tensor) -> None:
    """The product, and both gradients."""
    x, weight = x.requires_grad_(), weight.requires_grad_()
    torch.autograd.grad(each(x, weight).sum(), (x, weight))


if __name__ == "__main__":
    main()
