"""DeBERTa's scores beside transformers' DebertaV2."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("transformers",)
TOLERANCE = 1e-6  # the oracle's scale is a float32 root
MUTATIONS = (
    Mutation("content to position forgotten", "q @ k.mT + to_position + to_content", "q @ k.mT + to_content"),
    Mutation("position to content not turned", "self.index(seen.mT)).mT", "self.index(seen.mT))"),
    Mutation("paper and code swapped", "distance if self.as_released else -distance", "-distance if self.as_released else distance"),
    Mutation("scale of one score", "(3 * q.shape[-1]) ** 0.5", "q.shape[-1] ** 0.5"),
    Mutation("table not centred", "(distance + self.span)", "(distance + self.span - 1)"),
    Mutation("buckets rounded down", "(middle - 1)).ceil()", "(middle - 1)).floor()"),
    Mutation("projections swapped", "for f in (self.key_proj, self.query_proj)", "for f in (self.query_proj, self.key_proj)"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Two heads, seven queries and keys."""
    from nexus.layers.positional.deberta import DebertaEncoding

    q, k = (noise(seed + i, 2, 2, 7, 8, dtype=torch.float32) for i in range(2))
    return Example(drawn(DebertaEncoding(16, 2, 8, 4), seed, dtype=torch.float32), (q, k))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """The whole attention layer with clipped distances and with buckets, further apart than both."""
    from transformers.models.deberta_v2 import modeling_deberta_v2 as deberta

    from nexus.layers.positional.deberta import DebertaEncoding

    x, length = noise(seed, 2, 19, 16), 19
    for longest, n_buckets in ((6, 0), (16, 8)):
        ours = drawn(DebertaEncoding(16, 2, 8, longest, n_buckets), seed)
        config = deberta.DebertaV2Config(
            hidden_size=16, num_attention_heads=2, relative_attention=True, pos_att_type=["c2p", "p2c"],
            position_buckets=n_buckets or -1, max_relative_positions=longest, share_att_key=False,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        theirs = deberta.DisentangledSelfAttention(config).double()
        layers = {name: drawn(torch.nn.Linear(16, 16), seed + i) for i, name in enumerate(("query", "key", "value"))}
        weights = {f"{n}_proj.{p}": t for n, layer in layers.items() for p, t in layer.named_parameters()}
        for name, layer in (("pos_key_proj", ours.key_proj), ("pos_query_proj", ours.query_proj)):
            weights |= {f"{name}.{p}": t for p, t in layer.named_parameters()}
        everywhere = torch.ones(2, 1, length, length, dtype=torch.bool)
        y = run(theirs, weights, x, everywhere, rel_embeddings=ours.table)[0]
        q, k, v = (layer(x).unflatten(-1, (2, 8)).transpose(1, 2) for layer in layers.values())
        mine = (ours(q, k).softmax(-1) @ v).transpose(1, 2).flatten(-2)
        yield from compare(mine, y, {**parameters(ours), "x": x}, f"{n_buckets} buckets")
    paper = drawn(DebertaEncoding(16, 2, 8, 3, as_released=False), seed)
    q, k = noise(seed, 1, 2, 5, 8), noise(seed + 1, 1, 2, 5, 8)
    yield from compare(paper(q, k), _pairs(paper, q, k), {**parameters(paper), "q": q, "k": k}, "eq. 4, pair by pair")


def _pairs(ours: torch.nn.Module, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Eq. 3 and 4 for each pair, distances up to 3."""
    table = ours.get_parameter("table")
    keys, queries = (
        (table @ ours.get_parameter(f"{n}_proj.weight").T + ours.get_parameter(f"{n}_proj.bias")).view(6, 2, 8)
        for n in ("key", "query")
    )

    def delta(i: int, j: int) -> int:
        return 0 if i - j <= -3 else 5 if i - j >= 3 else i - j + 3

    scores = [
        (q[..., i, :] * k[..., j, :]).sum(-1)
        + (q[..., i, :] * keys[delta(i, j)]).sum(-1)
        + (k[..., j, :] * queries[delta(j, i)]).sum(-1)
        for i in range(5)
        for j in range(5)
    ]
    return torch.stack(scores, dim=-1).unflatten(-1, (5, 5)) / 24**0.5
