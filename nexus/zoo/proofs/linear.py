"""Linear attention beside linear-attention-transformer, and its three forms beside each other."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, oracle

ORACLE = ("linear-attention-transformer", "torch")
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("step sees its own chunk twice", "y = torch.matmul(weights, v) + q @ values[:, :, :-1]", "y = torch.matmul(weights, v) + q @ values[:, :, 1:]"),
    Mutation("future not masked inside a chunk", "weights = (q @ k.mT).tril()\n    y =", "weights = q @ k.mT\n    y ="),
    Mutation("earlier chunks left out of the sum", "total = weights.sum(-1, keepdim=True) + q @ keys[:, :, :-1].unsqueeze(-1)", "total = weights.sum(-1, keepdim=True)"),
    Mutation("states of chunks not summed up", "values, keys = values.cumsum(2), keys.cumsum(2)", "pass"),
    Mutation("state before the last chunk handed on", "LinearState(values[:, :, -1], keys[:, :, -1])", "LinearState(values[:, :, -2], keys[:, :, -2])"),
    Mutation("not divided", "return y / total.masked_fill(total == 0, 1.0)", "return y"),
    Mutation("elu without the one", "F.elu(x) + 1", "F.elu(x)"),
    Mutation("masked keys still counted", "k = k * mask.mT", "v = v * mask.mT"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """A layer of 4 heads, and a text."""
    from nexus.layers.attention.linear import LinearAttention

    return Example(
        drawn(LinearAttention(16, 4), seed, dtype=torch.float32), (noise(seed, 2, 7, 16, dtype=torch.float32),)
    )


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Full and causal; chunks, steps and a state handed on; the paper's features by the explicit quotient."""
    from nexus.layers.attention import linear

    q, k, v = (noise(seed + i, 2, 3, 24, 6) for i in range(3))
    leaves = {"q": q, "k": k, "v": v}
    peer = oracle("linear_attention_transformer.linear_attention_transformer")
    theirs = peer.causal_linear_attn(q, k, v, bucket_size=1, eps=1e-30)
    ours = linear.linear_chunked(q.exp(), k.exp(), v, 7)[0]
    yield from compare(ours, theirs, leaves, "chunked, exp features")

    def phi(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x + 1, x.exp())  # eq. 7 with elu written out

    real = torch.ones(2, 1, 1, 24, dtype=torch.bool)
    real[0, ..., 20:] = False
    layer = drawn(linear.LinearAttention(18, 3, chunk=5), seed)
    for what, mask, causal in (("full", None, False), ("causal", None, True), ("padded", real, False)):
        pairs = torch.einsum("bhtm,bhsm->bhts", phi(q), phi(k)) * (1 if mask is None else mask)
        pairs = pairs * torch.ones(24, 24, dtype=q.dtype).tril() if causal else pairs
        theirs = torch.einsum("bhts,bhsd->bhtd", pairs, v) / pairs.sum(-1, keepdim=True)  # eq. 4
        yield from compare(layer.attend(q, k, v, mask, None, causal), theirs, leaves, f"{what}, elu features")
        if causal:
            state = linear.LinearState(torch.zeros(2, 3, 6, 6).double(), torch.zeros(2, 3, 6).double())
            stepped, end = linear.linear_recurrent(phi(q), phi(k), v, state)
            yield from compare(stepped, theirs, leaves, "recurrent")
            head, state = linear.linear_chunked(phi(q)[:, :, :11], phi(k)[:, :, :11], v[:, :, :11], 4)
            tail, last = linear.linear_chunked(phi(q)[:, :, 11:], phi(k)[:, :, 11:], v[:, :, 11:], 4, state)
            yield from compare(torch.cat((head, tail), dim=2), theirs, leaves, "with a state")
            yield from compare(last.values, end.values, leaves, "state")
