"""Hyena: against the authors' standalone operator (frozen), and its convolutions against their definition."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.parity import Golden, Renaming, randomise, token_by_token
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch",)  # and HazyResearch/safari, frozen in tests/golden/hyena.safetensors
TOLERANCE = 1e-5

MUTATIONS = (
    Mutation("gates in the wrong order", "reversed(gates[1:])", "gates[:-1]"),
    Mutation("last gate forgotten", "self.out_proj(v * gates[0])", "self.out_proj(v)"),
    Mutation("filters don't fade", "torch.exp(-self.features[:length, :1] * self.rate)", "torch.exp(-0 * self.rate)"),
    Mutation("frequency of the sines forgotten", "torch.sin(self.frequency * layer(x))", "torch.sin(layer(x)) + 0 * self.frequency"),
    Mutation("sign of the sine features", "(time, angle.cos(), -angle.sin())", "(time, angle.cos(), angle.sin())"),
    Mutation("skip forgotten", " + skip * v", " + 0 * skip"),
    Mutation("convolution wraps round", "size = 2 * length", "size = length", "nexus/layers/ssm/long_conv.py"),
)  # fmt: skip

NAMES = Renaming(
    (
        ("short_weight", "short_filter.weight"),
        ("short_bias", "short_filter.bias"),
        ("skip", "filter_fn.bias"),
        ("filter.layers.0.", "filter_fn.implicit_filter.0."),
        ("filter.layers.1.", "filter_fn.implicit_filter.2."),
        ("filter.layers.2.", "filter_fn.implicit_filter.4."),
        ("filter.last.", "filter_fn.implicit_filter.6."),
        ("filter.frequency", "filter_fn.implicit_filter.1.freq"),
    )
)


def example(seed: int = 0) -> Example:
    """Width 4, order 3."""
    from nexus.layers.ssm.hyena import Hyena

    torch.manual_seed(seed)
    return Example(Hyena(4, 16, order=3, filter_width=8), (torch.randn(2, 11, 4),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The frozen operator (order 2 or 3 by seed), then token by token, and the convolution as a sum."""
    from nexus.layers.ssm.hyena import Hyena
    from nexus.layers.ssm.long_conv import direct_conv, fft_conv

    golden = Golden.load("hyena", seed)
    ours = Hyena(4, 16, order=2 + seed % 3 % 2, filter_width=8, bands=2)
    NAMES.load(ours, golden.weights)
    yield from golden.compare(ours, ours(golden.inputs["x"])[0], NAMES)

    torch.manual_seed(seed)
    layer = Hyena(4, 16, order=3, filter_width=8).double()
    randomise(layer, seed)
    u = torch.randn(2, 13, 4, dtype=torch.float64)
    yield Comparison("token by token", token_by_token(layer, u), layer(u)[0])
    kernel = torch.randn(4, 13, dtype=torch.float64)
    yield Comparison("convolution by FFT beside its sum", fft_conv(u, kernel), direct_conv(u, kernel))
