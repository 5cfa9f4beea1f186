"""DeepNorm beside torchscale's encoder and decoder, from values frozen by ``tests/golden/deep_norm.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import drawn, noise

ORACLE = ("torch",)
FROZEN = Path(__file__).resolve().parents[3] / "tests" / "golden" / "deep_norm.safetensors"
TOLERANCE = 1e-6  # starting weights are float32
MUTATIONS = (
    Mutation("alpha weighs the layer", "torch.add(y, x, alpha=self.alpha)", "torch.add(x, y, alpha=self.alpha)"),
    Mutation("alpha forgotten", "torch.add(y, x, alpha=self.alpha)", "torch.add(y, x)"),
    Mutation("encoder and decoder swapped", "    if encoder:\n", "    if not encoder:\n"),
    Mutation("square root for the fourth", "(2 * layers) ** 0.25", "(2 * layers) ** 0.5"),
    Mutation("beta not inverted", "(8 * layers) ** -0.25", "(8 * layers) ** 0.25"),
    Mutation("layers of both swapped", "(layers**4 * other) ** (1 / 16)", "(other**4 * layers) ** (1 / 16)"),
    Mutation("no bias", "self.weight, self.bias, self.eps", "self.weight, None, self.eps"),
)


def example(seed: int = 0) -> Example:
    """Width 8, a residual and a layer's output."""
    from nexus.layers.components.deep_norm import DeepNorm

    x, y = (noise(seed + i, 2, 7, 8, dtype=torch.float32) for i in range(2))
    return Example(drawn(DeepNorm(8, 2.0), seed, dtype=torch.float32), (x, y))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Factors at six depths; a residual joined, with all gradients. The frozen values do not depend on the seed."""
    from nexus.layers.components.deep_norm import DeepNorm, depth_scale

    golden = load_file(FROZEN)
    for (layers, other), row in zip(golden["depths"].tolist(), golden["factors"], strict=True):
        stacks = [depth_scale(layers, other, as_released=True)]
        if other:
            stacks.append(depth_scale(other, layers, encoder=False))
        for name, stack, (alpha, divisor) in zip(("encoder", "decoder"), stacks, row.view(2, 2), strict=False):
            ours = torch.tensor([stack.alpha, 1 / stack.beta])
            yield Comparison(f"factors of the {name}, {layers} and {other}", ours, torch.stack((alpha, divisor)))
    paper = torch.tensor(depth_scale(3, 24))  # figure 2, by hand: (3^4 24)^(1/16) = 1.605253
    yield Comparison("factors of the paper's encoder", paper, torch.tensor([0.81 * 1.605253, 0.87 / 1.605253]))

    layer = DeepNorm(8, float(golden["alpha"])).double()
    layer.load_state_dict({"weight": golden["weight"], "bias": golden["bias"]})
    x, y = (golden[name].requires_grad_() for name in ("x", "y"))
    out = layer(x, y)
    yield Comparison("joined", out, golden["out"])
    leaves = {"x": x, "y": y, "weight": layer.weight, "bias": layer.bias}
    found = torch.autograd.grad((out * golden["weighting"]).sum(), list(leaves.values()), allow_unused=True)
    for name, leaf, gradient in zip(leaves, leaves.values(), found, strict=True):
        gradient = torch.zeros_like(leaf) if gradient is None else gradient
        yield Comparison(f"gradient of {name}", gradient, golden[f"gradient of {name}"])
