"""RetNet: against torchscale's retention (frozen), and its chunked form against the matrix of eq. 5."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.parity import Golden, Renaming, randomise, token_by_token
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("torch",)  # and torchscale 0.3.0, frozen in tests/golden/ret_net.safetensors
TOLERANCE = 1e-5

MUTATIONS = (
    Mutation("decay in the wrong base", "(2.0 ** (-5 - heads))", "(2.0 ** (-4 - heads))"),
    Mutation("all heads fade alike", "-5 - heads", "-5 - 0 * heads"),
    Mutation("keys not turned", "turn_pairs(k, turn) / math", "k / math"),
    Mutation("turned the other way", "odd * cos + even * sin", "odd * cos - even * sin"),
    Mutation("gate forgotten", "F.silu(self.g_proj(x)) * F.rms_norm", "self.g_proj(x) * F.rms_norm"),
    Mutation("norm over all heads", "F.rms_norm(y, y.shape[-1:], eps=self.eps).flatten(-2)", "F.rms_norm(y.flatten(-2), (self.value_dim,), eps=self.eps)"),
    Mutation("mask off by one in the parallel form", "masked_fill(age < 0", "masked_fill(age < 1"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Two heads of width 4."""
    from nexus.layers.ssm.ret_net import RetNet

    torch.manual_seed(seed)
    return Example(RetNet(8, 2, chunk_size=4), (torch.randn(2, 11, 8),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The frozen layer; the chunked form beside the parallel one and the steps."""
    from nexus.layers.ssm.ret_net import RetNet, retention
    from nexus.layers.ssm.ssd import ssd_chunked

    golden = Golden.load("ret_net", seed)
    ours = RetNet(8, 2, value_dim=12, chunk_size=4, eps=1e-12)
    Renaming().load(ours, golden.weights)
    yield from golden.compare(ours, ours(golden.inputs["x"])[0], Renaming())

    torch.manual_seed(seed)
    layer = RetNet(8, 2, chunk_size=4).double()
    randomise(layer, seed)
    x = torch.randn(2, 13, 8, dtype=torch.float64)
    q, k, v = layer.heads(x)
    log_decay = layer.log_decay
    fast = ssd_chunked(v, log_decay.expand(2, 13, 2), k, q, 4)[0]
    yield Comparison("chunked beside parallel", fast, retention(q, k, v, log_decay))
    yield Comparison("token by token", token_by_token(layer, x), layer(x)[0])
