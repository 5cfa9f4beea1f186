"""Mamba-2: against transformers' mixer, and its chunked form against the quadratic one and the recurrence."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.parity import Renaming, compare, randomise, token_by_token
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-5

NAMES = Renaming((("conv_weight", "conv1d.weight"), ("conv_bias", "conv1d.bias")))
SCAN = "nexus/layers/ssm/scan.py"
NORM = "nexus/layers/components/rms_norm.py"

MUTATIONS = (
    Mutation("softplus of the step forgotten", "dt = F.softplus(dt + self.dt_bias)", "dt = (dt + self.dt_bias).exp()"),
    Mutation("bias of the step forgotten", "dt = F.softplus(dt + self.dt_bias)", "dt = F.softplus(dt) + 0 * self.dt_bias"),
    Mutation("A not made negative", "log_decay = -self.A_log.exp() * dt", "log_decay = self.A_log.exp() * dt"),
    Mutation("B and C swapped", "x, b, c = xbc.split(", "x, c, b = xbc.split("),
    Mutation("gate and input swapped", "z, xbc, dt = projected.split(", "xbc, z, dt = projected.flip(-1).split("),
    Mutation("state not carried between chunks", "states[i + 1].addcmul_(states[i], factors.carry[i])", "pass", SCAN),
    Mutation("mask off by one", "exp2_().tril_()", "exp2_().tril_(-1)", SCAN),
    Mutation("backward: own share counted as past", "shares.diagonal(dim1=-2, dim2=-1).zero_()", "pass", SCAN),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """A mixer of width 8 with two groups."""
    from nexus.layers.ssm.mamba2 import Mamba2

    torch.manual_seed(seed)
    return Example(Mamba2(8, 4, 4, 6, n_groups=2, chunk_size=8), (torch.randn(2, 11, 8),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The mixer beside transformers' Mamba-2 over odd lengths, token by token; the three forms beside each other."""
    from transformers.models.mamba2.configuration_mamba2 import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    from nexus.layers.ssm.mamba2 import Mamba2
    from nexus.layers.ssm.ssd import ssd_chunked, ssd_quadratic, ssd_recurrent

    torch.manual_seed(seed)
    config = Mamba2Config(
        hidden_size=8, num_heads=4, head_dim=4, state_size=6, n_groups=1, expand=2, chunk_size=16, num_hidden_layers=1,
        rms_norm=True,
    )  # fmt: skip
    theirs = Mamba2Mixer(config, 0)
    randomise(theirs, seed, 0.3)
    ours = Mamba2(8, 4, 4, 6, n_groups=1, chunk_size=8, eps=config.layer_norm_epsilon)
    NAMES.load(ours, theirs.state_dict())
    theirs.load_state_dict(NAMES.export(ours, theirs.state_dict()))
    u = torch.randn(2, 37, 8)
    z = theirs(u)
    yield from compare(ours, ours(u)[0], theirs, z, NAMES, seed)
    yield Comparison("token by token", token_by_token(ours, u), z)

    sizes = ((2, 21, 4, 3), (2, 21, 4), (2, 21, 2, 5), (2, 21, 2, 5))
    x, log_decay, b, c = (torch.randn(size, dtype=torch.float64) for size in sizes)
    log_decay = -log_decay.abs()
    slow = ssd_recurrent(x, log_decay, b, c)[0]
    yield Comparison("quadratic beside recurrent", ssd_quadratic(x, log_decay, b, c), slow)
    yield Comparison("chunked beside recurrent", ssd_chunked(x, log_decay, b, c, 8)[0], slow)
