"""Performer beside torch_geometric's PerformerAttention, and its features beside the kernel that they stand for."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, oracle, parameters, run

ORACLE = ("torch_geometric", "torch")
TOLERANCE = 1e-9  # a mean over 2^18 draws is compared in units of its own error, see `prove`
MUTATIONS = (
    Mutation("half of the square forgotten", "x.square().sum(-1, keepdim=True) / 2", "x.square().sum(-1, keepdim=True)"),
    Mutation("scale forgotten", "x = x * x.shape[-1] ** -0.25", "pass"),
    Mutation("scale of one side only", "x.shape[-1] ** -0.25", "x.shape[-1] ** -0.5"),
    Mutation("mean over features forgotten", "exponent.exp() * projection.shape[0] ** -0.5", "exponent.exp()"),
    Mutation("directions lean to one side", "(q * r.diagonal().sign()).mT", "q.mT"),
    Mutation("eps forgotten", "F.relu(k @ self.projection.mT) + self.eps", "F.relu(k @ self.projection.mT)"),
    Mutation("directions all of one length", "torch.cat(blocks)", "torch.cat([b / b.norm(dim=-1, keepdim=True) for b in blocks])"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """A layer of 4 heads with 32 features, and a text."""
    from nexus.layers.attention.performer import PerformerAttention

    layer = PerformerAttention(16, 4, n_features=32, generator=torch.Generator().manual_seed(seed))
    return Example(drawn(layer, seed, dtype=torch.float32), (noise(seed, 2, 7, 16, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The layer with ReLU features on the oracle's directions; FAVOR+'s mean within 5 standard errors of the kernel."""
    from nexus.layers.attention import performer

    torch.manual_seed(seed)
    theirs = oracle("torch_geometric.nn.attention").PerformerAttention(16, 4, head_channels=4, qkv_bias=True).double()
    projection = theirs.fast_attn.projection_matrix
    ours = drawn(performer.PerformerAttention(16, 4, n_features=len(projection), kernel="relu"), seed)
    ours.projection.copy_(projection)
    x = noise(seed, 2, 9, 16)
    q, k, v = ours.qkv_proj.weight.chunk(3)
    q_bias, k_bias, v_bias = ours.qkv_proj.bias.chunk(3)
    weights = {
        "q.weight": q, "k.weight": k, "v.weight": v, "attn_out.weight": ours.o_proj.weight,
        "q.bias": q_bias, "k.bias": k_bias, "v.bias": v_bias, "attn_out.bias": ours.o_proj.bias,
    }  # fmt: skip
    weights = {name: weights[name] for name, _ in theirs.named_parameters()}
    yield from compare(ours(x), run(theirs, weights, x), {**parameters(ours), "x": x}, "ReLU features")

    q, k = noise(seed, 3, 8).detach(), noise(seed + 1, 3, 8).detach()
    draws = performer.orthogonal_directions(2**18, 8, torch.Generator().manual_seed(seed)).double()
    one, other = (performer.softmax_features(t, draws, per_row=False) for t in (q, k))
    products = (one * other) * len(draws)  # one estimate of exp(q k / sqrt(d)) for each direction
    blocks = products.unflatten(-1, (-1, 8)).mean(-1)  # directions of one block are not independent
    error = blocks.std(-1) / blocks.shape[-1] ** 0.5
    off = ((one * other).sum(-1) - (q * k / 8**0.5).sum(-1).exp()).abs()
    yield Comparison("FAVOR+ unbiased", (off > 5 * error).double(), torch.zeros(3))
