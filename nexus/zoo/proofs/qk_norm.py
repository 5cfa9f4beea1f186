"""QK-norm in attention beside transformers' Qwen3, and the first paper's form beside its equations."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-5  # the oracle takes norms, softmax and angles in float32
MUTATIONS = (
    Mutation("keys not normalised", "return self.q_norm(q), self.k_norm(k)", "return self.q_norm(q), k"),
    Mutation("one norm for both", "return self.q_norm(q), self.k_norm(k)", "return self.q_norm(q), self.q_norm(k)"),
    Mutation("root of the width not taken back", "(self.scale * q.shape[-1] ** 0.5)", "self.scale"),
    Mutation("scale on both sides", "F.normalize(k, dim=-1)", "F.normalize(k, dim=-1) * self.scale"),
    Mutation("queries not of unit length", "F.normalize(q, dim=-1) * (", "q * ("),
)


def example(seed: int = 0) -> Example:
    """Two heads of eight channels."""
    from nexus.layers.components.qk_norm import QKNorm

    q, k = (noise(seed + i, 2, 2, 7, 8, dtype=torch.float32) for i in range(2))
    return Example(drawn(QKNorm(8), seed, dtype=torch.float32), (q, k))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """A whole attention of Qwen3; scores of eq. 4 as cosines times the scale."""
    from transformers.models.qwen3 import modeling_qwen3 as qwen

    from nexus.layers.components.qk_norm import QKNorm
    from nexus.layers.positional.rope import RotaryEmbedding, apply_rotary

    ours, x, at = (
        drawn(QKNorm(8), seed, dtype=torch.float32),
        noise(seed, 2, 7, 16, dtype=torch.float32),
        torch.arange(7)[None],
    )
    config = qwen.Qwen3Config(
        hidden_size=16, num_attention_heads=2, num_key_value_heads=2, head_dim=8, attn_implementation="eager"
    )  # fmt: skip
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    layers = {n: drawn(nn.Linear(16, 16, bias=False), seed + i, dtype=torch.float32) for i, n in enumerate(names)}
    weights = {f"{name}.weight": layer.weight for name, layer in layers.items()} | parameters(ours)
    blocked = torch.full((7, 7), float("-inf")).triu(1)[None, None]
    theirs = run(qwen.Qwen3Attention(config, 0), weights, x, qwen.Qwen3RotaryEmbedding(config)(x, at), blocked)[0]
    q, k, v = (layers[n](x).unflatten(-1, (2, 8)).transpose(1, 2) for n in names[:3])
    q, k = (apply_rotary(t, *RotaryEmbedding(8)(at)) for t in ours(q, k))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    mine = layers["o_proj"](y.transpose(1, 2).flatten(-2))
    yield from compare(mine, theirs, {**parameters(ours), "x": x}, "Qwen3")

    ours = drawn(QKNorm(8, "l2", length=20), seed)
    q, k = noise(seed, 2, 2, 5, 8), noise(seed + 1, 2, 2, 7, 8)
    one, other = ours(q, k)
    cosines = ours.scale * torch.cosine_similarity(q.unsqueeze(3), k.unsqueeze(2), dim=-1)
    yield from compare(one @ other.mT / 8**0.5, cosines, {**parameters(ours), "q": q, "k": k}, "unit vectors")
