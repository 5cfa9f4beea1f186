"""The activations beside torch's and transformers', and GELU's tail beside 50 digits of mpmath."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, noise

ORACLE = ("torch", "transformers", "mpmath")
TOLERANCE = 1e-12
MUTATIONS = (
    Mutation("erf without the root of two", "erfc(x * -math.sqrt(0.5))", "erfc(-x)"),
    Mutation("tail lost by cancellation", "0.5 * x * torch.special.erfc(x * -math.sqrt(0.5))", "0.5 * x * (1 + torch.special.erf(x * math.sqrt(0.5)))"),
    Mutation("tanh's factor of two forgotten", "torch.sigmoid(2 * inner)", "torch.sigmoid(inner)"),
    Mutation("the cube's factor misspelt", "x + 0.044715 * x", "x + 0.44715 * x"),
    Mutation("quick's factor rounded", "1.702 * x", "1.7 * x"),
    Mutation("mish without the logarithm", "torch.logaddexp(x, torch.zeros((), dtype=x.dtype, device=x.device)).tanh()", "x.tanh()"),
    Mutation("selu's scale above zero only", "SELU_SCALE * torch.where(x > 0, x, below)", "torch.where(x > 0, SELU_SCALE * x, below)"),
    Mutation("squared before the cut", "x.relu().square()", "x.square().relu()"),
    Mutation("fused: one GELU for the other", 'partial(F.gelu, approximate="tanh")', "F.gelu"),
    Mutation("fused: a sigmoid for SiLU", '"silu": F.silu', '"silu": F.sigmoid'),
    Mutation("fused even where it was not asked for", "if fused else formula", "if fused else KERNELS.get(kind, formula)"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """GELU, and some numbers."""
    from nexus.layers.components.gelu import GELU

    return Example(GELU(), (noise(seed, 2, 7, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Values, first and second derivatives from -20 to 20; the tail relative to its size."""
    from transformers.activations import ACT2FN

    from nexus.layers.components import gelu

    theirs: dict[str, Callable[[Tensor], Tensor]] = {
        "gelu": nn.GELU(),
        "gelu_tanh": nn.GELU(approximate="tanh"),
        "gelu_quick": ACT2FN["quick_gelu"],
        "silu": nn.SiLU(),
        "mish": nn.Mish(),
        "selu": nn.SELU(),
        "relu_squared": ACT2FN["relu2"],
    }
    x = torch.cat((torch.linspace(-20, 20, 401).double() + 1e-3, noise(seed, 99).detach())).requires_grad_()
    for name, oracle in theirs.items():
        one, other = gelu.activation(name)(x), oracle(x)
        yield from compare(one, other, {"x": x}, name)
        slopes = [torch.autograd.grad(y.sum(), x, create_graph=True)[0] for y in (one, other)]
        yield from compare(slopes[0], slopes[1], {"x": x}, f"slope of {name}")
        yield from compare(gelu.GELU(name)(x), other, {"x": x}, f"fused {name}")
    tail = torch.linspace(-30, -5, 60).double()
    for what, ours in (("formula", gelu.gelu), ("module", gelu.GELU(fused=False))):
        yield Comparison(f"GELU's tail, over its size, {what}", ours(tail) / _exact(tail), torch.ones(60).double())


def _exact(x: Tensor) -> Tensor:
    """``x erfc(-x / sqrt(2)) / 2`` in 50 digits."""
    import mpmath

    with mpmath.workdps(50):
        values = [float(v * mpmath.erfc(-mpmath.mpf(v) / mpmath.sqrt(2)) / 2) for v in x.tolist()]
    return torch.tensor(values, dtype=x.dtype)
