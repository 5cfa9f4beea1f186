"""Differential attention beside transformers' DiffLlama."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("transformers",)
TOLERANCE = 1e-5  # the oracle takes softmax and angles in float32
MUTATIONS = (
    Mutation("maps added", "self.factor(), value=-1)", "self.factor())"),
    Mutation("lambda's start forgotten", "(q2 @ k2).exp() + self.lambda_init", "(q2 @ k2).exp()"),
    Mutation("lambda's second term added", "(q1 @ k1).exp() - (q2 @ k2).exp()", "(q1 @ k1).exp() + (q2 @ k2).exp()"),
    Mutation("last factor forgotten", "y = y * (1 - self.lambda_init)  #", "#"),
    Mutation("norm forgotten", "F.rms_norm(y, y.shape[-1:], eps=self.eps) if self.norm is None else self.norm(y)", "y if self.norm is None else self.norm(y)"),
    Mutation("depth counted from one", "math.exp(-0.3 * depth)", "math.exp(-0.3 * (depth + 1))"),
    Mutation("not causal", "v, mask, None, causal)", "v, mask, None, False)"),
)  # fmt: skip


def _layer(norm_weight: bool, seed: int) -> nn.Module:
    from nexus.layers.attention.differential import DifferentialAttention

    return drawn(DifferentialAttention(16, 2, depth=3, norm_weight=norm_weight), seed, dtype=torch.float32)


def example(seed: int = 0) -> Example:
    """A layer of 2 heads, and a text."""
    return Example(_layer(True, seed), (noise(seed, 2, 7, 16, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Without a norm weight as the oracle is, and with the weight as a factor after it."""
    from transformers.models.diffllama import modeling_diffllama as diff

    from nexus.layers.positional.rope import RotaryEmbedding

    x, at = noise(seed, 2, 7, 16, dtype=torch.float32), torch.arange(7)[None]
    config = diff.DiffLlamaConfig(
        hidden_size=16, num_attention_heads=4, num_key_value_heads=4, rms_norm_eps=1e-5, attention_bias=False,
        attn_implementation="eager",
    )  # fmt: skip
    blocked = torch.full((7, 7), float("-inf")).triu(1)[None, None]
    turns, rotary = diff.DiffLlamaRotaryEmbedding(config)(x, at), RotaryEmbedding(4)(at)
    for norm_weight in (False, True):
        ours, theirs = _layer(norm_weight, seed), diff.DiffLlamaAttention(config, 3)
        if norm_weight:
            theirs.groupnorm = _Weighted(theirs.groupnorm)
        y = run(theirs, bridge(ours, norm_weight), x, turns, blocked)[0]
        yield from compare(ours(x, rotary=rotary), y, {**parameters(ours), "x": x}, f"norm_weight={norm_weight}")


class _Weighted(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.weight = norm, nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) * self.weight


def bridge(ours: nn.Module, norm_weight: bool) -> dict[str, Tensor]:
    """Our weights under DiffLlama's names."""
    rows = ours.get_parameter("qkv_proj.weight").chunk(3)
    weights = {f"{name}_proj.weight": row for name, row in zip("qkv", rows, strict=True)}
    lambdas = zip(("q1", "k1", "q2", "k2"), ours.get_parameter("lambdas"), strict=True)
    weights |= {f"lambda_{name}": row for name, row in lambdas}
    weights["o_proj.weight"] = ours.get_parameter("o_proj.weight")
    if norm_weight:
        weights["groupnorm.weight"] = ours.get_parameter("norm.weight")
    return weights
