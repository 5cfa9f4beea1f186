"""Sinusoidal encoding beside diffusers' time-step embedding, and the paper's formula number by number."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import oracle

ORACLE = ("diffusers",)
TOLERANCE = 1e-5  # the oracle works in float32: an angle of 1,000 has an error of 6e-5 there before it is folded
MUTATIONS = (
    Mutation("sine and cosine swapped", "(cos, sin) if self", "(sin, cos) if self"),
    Mutation("exponent over all channels", "/ (pairs - self.shift)", "/ (2 * pairs - self.shift)"),
    Mutation("shift added", "(pairs - self.shift)", "(pairs + self.shift)"),
    Mutation("halves instead of neighbours", "torch.stack(pair, dim=-1).flatten(-2) if", "torch.cat(pair, dim=-1) if"),
    Mutation("a shift turns back", "torch.stack((cos, sin), -1), torch.stack((-sin, cos), -1)", "torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)"),
    Mutation("waves grow shorter", "** -exponent", "** exponent"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Eight channels, positions from 0 to 4."""
    from nexus.layers.positional.sinusoidal import SinusoidalEncoding

    return Example(SinusoidalEncoding(8), (torch.arange(5) + seed,))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Both halves' layouts, both spacings and an odd width; the interleaved layout; the shift as a linear map."""
    from nexus.layers.positional.sinusoidal import SinusoidalEncoding

    generator = torch.Generator().manual_seed(seed)
    at = torch.cat((torch.arange(20), torch.randint(0, 200, (10,), generator=generator)))
    for width, layout, shift in ((16, "sin_cos", 0), (16, "cos_sin", 1), (15, "sin_cos", 1)):
        ours = SinusoidalEncoding(width, layout=layout, shift=shift)(at)
        theirs = oracle("diffusers.models.embeddings").get_timestep_embedding(
            at, width, flip_sin_to_cos=layout == "cos_sin", downscale_freq_shift=shift
        )
        yield Comparison(f"{width} channels, {layout}, shift {shift}", ours, theirs)
    paper = SinusoidalEncoding(16)
    formula = [
        [(math.sin, math.cos)[c % 2](p / 10_000 ** (c // 2 * 2 / 16)) for c in range(16)] for p in at.tolist()
    ]  # section 3.5
    yield Comparison("the paper's layout", paper(at, torch.float64), torch.tensor(formula, dtype=torch.float64))
    moved = paper(at, torch.float64) @ paper.shift_matrix(7).T
    yield Comparison("shift by 7", moved, paper(at + 7, torch.float64))
