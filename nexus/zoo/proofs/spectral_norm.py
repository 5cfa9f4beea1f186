"""Spectral normalisation beside torch's parametrisation, and the singular value beside a decomposition."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrizations

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("torch",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("not divided", "weight / (self.u @ self.matrix(weight) @ self.v)", "weight * 1.0"),
    Mutation("singular value detached", "(self.u @ self.matrix(weight) @ self.v)", "(self.u @ self.matrix(weight) @ self.v).detach()"),
    Mutation("Frobenius norm", "(self.u @ self.matrix(weight) @ self.v)", "self.matrix(weight).norm()"),
    Mutation("vectors not kept up in training", "self.iterate(weight, self.steps)", "pass"),
    Mutation("vectors moved in use too", "if self.training:", "if self.steps:"),
    Mutation("u not normalised", "F.normalize(matrix @ self.v, dim=0, eps=self.eps)", "matrix @ self.v"),
    Mutation("only one vector moves", "self.v = F.normalize(matrix.mT @ self.u, dim=0, eps=self.eps)", "pass"),
    Mutation("rows of another dimension", "weight.movedim(self.dim, 0).flatten(1)", "weight.flatten(1)"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """A linear layer in use (in training every call moves the vectors), and a text."""
    from nexus.layers.components.spectral_norm import spectral_norm

    torch.manual_seed(seed)
    layer = drawn(spectral_norm(nn.Linear(8, 6)), seed, dtype=torch.float32).eval()
    return Example(layer, (noise(seed, 2, 7, 8, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Three calls in training, then one in use, from the same vectors; and where the iteration ends."""
    from nexus.layers.components.spectral_norm import SpectralNorm, spectral_norm

    cases: tuple[tuple[type[nn.Module], tuple[int, ...], int, tuple[int, ...]], ...] = (
        (nn.Linear, (8, 6), 0, (2, 7, 8)),
        (nn.Conv2d, (4, 6, 3), 0, (2, 4, 5, 6)),
        (nn.ConvTranspose1d, (4, 6, 3), 1, (2, 4, 9)),
    )
    for kind, sizes, dim, shape in cases:
        torch.manual_seed(seed)
        ours = drawn(spectral_norm(kind(*sizes), steps=2, dim=dim), seed)
        theirs = parametrizations.spectral_norm(kind(*sizes).double(), n_power_iterations=2, dim=dim)
        vectors = ours.get_submodule("parametrizations.weight.0"), theirs.get_submodule("parametrizations.weight.0")
        for name in ("u", "v"):
            vectors[1].get_buffer(f"_{name}").copy_(vectors[0].get_buffer(name))
        for call in range(4):
            if call == 3:
                ours.eval()
                theirs.eval()
            x, what = noise(seed + call, *shape), f"{kind.__name__}, call {call}"
            y = run(theirs, parameters(ours), x)
            yield from compare(ours(x), y, {**parameters(ours), "x": x}, what)
            for name in ("u", "v"):  # torch's move in place
                moved = vectors[1].get_buffer(f"_{name}").clone()
                yield Comparison(f"{name}, {what}", vectors[0].get_buffer(name), moved)
    weight = noise(seed, 6, 8).detach()
    norm = SpectralNorm(weight, steps=1_000)
    largest = torch.linalg.matrix_norm(norm(weight), 2)
    yield Comparison("largest singular value of the result", largest, torch.ones(()).double())
