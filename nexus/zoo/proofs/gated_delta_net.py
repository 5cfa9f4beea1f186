"""Gated DeltaNet: against transformers' Qwen3-Next layer, and the triangular system against the recurrence."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.parity import Renaming, calm, compare, randomise, token_by_token
from nexus.zoo.proof import Comparison, Example, Mutation

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-5

NAMES = Renaming(
    (
        ("qkvz_proj", "in_proj_qkvz"),
        ("ba_proj", "in_proj_ba"),
        ("conv_weight", "conv1d.weight"),
        ("norm_weight", "norm.weight"),
    )
)

MUTATIONS = (
    Mutation("adds up in place of overwriting", "written = u - w @ memory", "written = u"),
    Mutation("corrections inside a chunk forgotten", "system = torch.tril((k * beta.unsqueeze(-1)) @ k.mT * fade, -1)", "system = 0 * torch.tril((k * beta.unsqueeze(-1)) @ k.mT * fade, -1)"),
    Mutation("queries not scaled", "q = q * self.key_dim**-0.5", "q = q * 1.0"),
    Mutation("keys not of length one", "x = x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)", "x = x * 1.0"),
    Mutation("gate before the norm", "F.rms_norm(y, y.shape[-1:], self.norm_weight, self.eps) * F.silu(z)", "F.rms_norm(y * F.silu(z), y.shape[-1:], self.norm_weight, self.eps)"),
    Mutation("beta without sigmoid", "beta = torch.sigmoid(b.flatten(-2))", "beta = b.flatten(-2)"),
    Mutation("memory doesn't fade over a chunk", "memory = c * memory + b.mT @ written", "memory = memory + b.mT @ written"),
    Mutation("value heads paired with the wrong keys", "x.repeat_interleave(self.n_heads // self.key_heads, dim=2)", "x.repeat(1, 1, self.n_heads // self.key_heads, 1)"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Four value heads, two key heads."""
    from nexus.layers.ssm.gated_delta_net import GatedDeltaNet

    torch.manual_seed(seed)
    return Example(GatedDeltaNet(8, 4, 3, 5, n_kv_heads=2, chunk_size=4), (torch.randn(2, 11, 8),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The layer beside transformers', token by token; chunks beside steps in double precision, without gates too."""
    from transformers.models.qwen3_next.configuration_qwen3_next import Qwen3NextConfig
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

    from nexus.layers.ssm.gated_delta_net import GatedDeltaNet, delta_chunked, delta_recurrent

    torch.manual_seed(seed)
    config = Qwen3NextConfig(
        hidden_size=8, linear_num_value_heads=4, linear_num_key_heads=2, linear_key_head_dim=3,
        linear_value_head_dim=5, num_hidden_layers=1, layer_types=["linear_attention"],
    )  # fmt: skip
    theirs = Qwen3NextGatedDeltaNet(config, 0)
    calm(theirs)
    randomise(theirs, seed, 0.2)
    ours = GatedDeltaNet(8, 4, 3, 5, n_kv_heads=2, chunk_size=8)
    NAMES.load(ours, theirs.state_dict())
    theirs.load_state_dict(NAMES.export(ours, theirs.state_dict()))
    x = torch.randn(2, 29, 8)
    z = theirs(x)
    yield from compare(ours, ours(x)[0], theirs, z, NAMES, seed)
    yield Comparison("token by token", token_by_token(ours, x), z)

    q, k, v = (torch.randn(2, 13, 2, n, dtype=torch.float64) for n in (4, 4, 3))
    k = k / k.norm(dim=-1, keepdim=True)
    beta, memory = torch.rand(2, 13, 2, dtype=torch.float64), torch.randn(2, 2, 4, 3, dtype=torch.float64)
    for name, log_decay in (("gated", -torch.rand_like(beta)), ("never forgetting", torch.zeros_like(beta))):
        inputs = (q, k, v, log_decay, beta, memory)
        yield Comparison(
            f"chunks beside steps, {name}", delta_chunked(*inputs, chunk=4)[0], delta_recurrent(*inputs)[0]
        )
