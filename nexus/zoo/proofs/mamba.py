"""Mamba: against transformers' mixer, whole and cached, and its three scans against one another."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.parity import Renaming, compare, randomise, token_by_token
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-5

NAMES = Renaming((("conv_weight", "conv1d.weight"), ("conv_bias", "conv1d.bias")))
SCAN = "nexus/layers/ssm/selective_scan.py"

MUTATIONS = (
    Mutation("softplus of the step forgotten", "F.softplus(self.dt_proj(dt))", "self.dt_proj(dt).exp()"),
    Mutation("skip forgotten", "(y + self.D * x) * F.silu(z)", "y * F.silu(z)"),
    Mutation("gate without SiLU", "(y + self.D * x) * F.silu(z)", "(y + self.D * x) * z"),
    Mutation("B and C swapped", "dt, b, c = self.x_proj(x).split(", "dt, c, b = self.x_proj(x).split("),
    Mutation("A not made negative", "-self.A_log.exp()", "self.A_log.exp()"),
    Mutation("step not in what is written", "(dt * x).unsqueeze(2) * b.unsqueeze(-1)\n    before", "x.unsqueeze(2) * b.unsqueeze(-1)\n    before", SCAN),
    Mutation("state lost between chunks", "starts.append(states[-1].clone())", "starts.append(states[-1].clone() * 0)", SCAN),
    Mutation("backward forgets the way through the decay", "ddt = du * x + (dlog * a.t()).sum(2)", "ddt = du * x", SCAN),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """A mixer of width 8."""
    from nexus.layers.ssm.mamba import Mamba

    torch.manual_seed(seed)
    return Example(Mamba(8, d_state=4), (torch.randn(2, 11, 8),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The mixer beside transformers' over more than one chunk, then token by token."""
    from transformers.models.mamba.configuration_mamba import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    from nexus.layers.ssm import selective_scan as scans
    from nexus.layers.ssm.mamba import Mamba

    torch.manual_seed(seed)
    config = MambaConfig(hidden_size=8, state_size=4, num_hidden_layers=1, use_mambapy=False, time_step_rank=2)
    theirs = MambaMixer(config, 0)
    randomise(theirs, seed, 0.3)
    ours = Mamba(8, d_state=4, dt_rank=2)
    NAMES.load(ours, theirs.state_dict())
    theirs.load_state_dict(NAMES.export(ours, theirs.state_dict()))
    u = torch.randn(2, 37, 8)
    y, z = ours(u)[0], theirs(u)
    yield from compare(ours, y, theirs, z, NAMES, seed)
    yield Comparison("token by token", token_by_token(ours, u), z)
    sizes = ((2, 21, 3), (2, 21, 3), (3, 4), (2, 21, 4), (2, 21, 4))
    x, dt, a, b, c = (torch.randn(size, dtype=torch.float64) for size in sizes)
    inputs = (x, dt.abs(), -a.abs(), b, c)
    slow = scans.selective_scan_recurrent(*inputs)[0]
    for form in (scans.selective_scan, scans.selective_scan_parallel):
        yield Comparison(form.__name__, form(*inputs)[0], slow)
