"""Shaw's relative keys beside transformers' Wav2Vec2-BERT; keys and values beside the sums of eq. 3 and 4."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("transformers",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("distance the wrong way round", "(-distances(length, keys, device))", "(distances(length, keys, device))"),
    Mutation("clipped one too early", ".clamp(-far, far) + far", ".clamp(1 - far, far - 1) + far"),
    Mutation("relative keys not scaled", "return (q @ k.mT + pick(q @ self.keys.mT, index)) / q.shape[-1] ** 0.5", "return q @ k.mT / q.shape[-1] ** 0.5 + pick(q @ self.keys.mT, index)"),
    Mutation("relative values forgotten", "return y + by_distance @ self.values", "return y"),
    Mutation("values use the keys' table", "by_distance @ self.values", "by_distance @ self.keys"),
    Mutation("weights of one distance overwritten", "scatter_add(-1", "scatter(-1"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Two heads, seven positions, distances up to 3."""
    from nexus.layers.positional.shaw import ShawEncoding

    inputs = tuple(noise(seed + i, 2, 2, 7, 8, dtype=torch.float32) for i in range(3))
    return Example(drawn(ShawEncoding(8, 3), seed, dtype=torch.float32), inputs)


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Keys alone as the oracle has them; keys and values pair by pair, queries fewer than keys."""
    from transformers.models.wav2vec2_bert import modeling_wav2vec2_bert as wav2vec2

    from nexus.layers.positional.shaw import ShawEncoding

    ours = drawn(ShawEncoding(8, 3, values=False), seed)
    config = wav2vec2.Wav2Vec2BertConfig(
        hidden_size=16, num_attention_heads=2, position_embeddings_type="relative_key", left_max_position_embeddings=3,
        right_max_position_embeddings=3, attention_dropout=0.0,
    )  # fmt: skip
    theirs = wav2vec2.Wav2Vec2BertSelfAttention(config).double()
    x = noise(seed, 2, 9, 16)
    names = ("linear_q", "linear_k", "linear_v", "linear_out")
    layers = {name: drawn(nn.Linear(16, 16), seed + i) for i, name in enumerate(names)}
    weights = {f"{n}.{p}": t for n, layer in layers.items() for p, t in layer.named_parameters()}
    weights["distance_embedding.weight"] = ours.keys
    q, k, v = (layers[name](x).unflatten(-1, (2, 8)).transpose(1, 2) for name in names[:3])
    mine = layers["linear_out"](ours(q, k, v).transpose(1, 2).flatten(-2))
    yield from compare(mine, run(theirs, weights, x)[0], {**parameters(ours), "x": x}, "keys, Wav2Vec2-BERT")

    ours = drawn(ShawEncoding(8, 3), seed)
    q, k, v = noise(seed, 2, 2, 5, 8), noise(seed + 1, 2, 2, 7, 8), noise(seed + 2, 2, 2, 7, 8)
    pairs = _sums(q, k, v, ours.keys, _values(ours))
    yield from compare(ours(q, k, v), pairs, {**parameters(ours), "q": q, "k": k, "v": v}, "keys and values")


def _values(ours: nn.Module) -> Tensor:
    return ours.get_parameter("values")


def _sums(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Equations 3 and 4 with the vectors of every pair written out; five queries, the last at the last of seven keys."""
    rows = torch.tensor([[max(-3, min(3, j - (i + 2))) + 3 for j in range(7)] for i in range(5)])
    a_k, a_v = keys[rows], values[rows]  # (5, 7, 8)
    scores = torch.einsum("bhid,bhijd->bhij", q, k.unsqueeze(2) + a_k) / 8**0.5
    return torch.einsum("bhij,bhijd->bhid", scores.softmax(-1), v.unsqueeze(2) + a_v)
