"""RoPE and its scalings beside transformers' tables of frequencies and rotary-embedding-torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, noise, oracle

ORACLE = ("transformers", "rotary-embedding-torch")
TOLERANCE = 1e-5  # both oracles take angles in float32
SCALING = "nexus/layers/positional/rope_scaling.py"
MUTATIONS = (
    Mutation("turns the wrong way", "torch.cat((-sin, sin), dim=-1)", "torch.cat((sin, -sin), dim=-1)"),
    Mutation("magnitude forgotten", "cos, sin = cos * magnitude, sin * magnitude", "pass"),
    Mutation("layout not converted", "x.unflatten(-1, (-1, 2)).mT.flatten(-2)", "x"),
    Mutation("exponent over half the channels", "torch.arange(0, dim, 2, dtype=torch.float32, device=device) / max(dim, 1)", "torch.arange(0, dim, 2, dtype=torch.float32, device=device) / max(dim // 2, 1)", SCALING),
    Mutation("positions multiplied instead of divided", "return plain_frequencies(dim, theta, device) / self.factor", "return plain_frequencies(dim, theta, device) * self.factor", SCALING),
    Mutation("NTK's exponent forgotten", "(self.factor * ratio - (self.factor - 1)) ** (dim / (dim - 2))", "(self.factor * ratio - (self.factor - 1))", SCALING),
    Mutation("YaRN's ramp turned round", "plain / self.factor * ramp + plain * (1 - ramp)", "plain * ramp + plain / self.factor * (1 - ramp)", SCALING),
    Mutation("YaRN's base-2 logarithm", "0.1 * math.log(self.factor) + 1", "0.1 * math.log2(self.factor) + 1", SCALING),
    Mutation("Llama 3 keeps the slow pairs", "plain * (keep + (1 - keep) / self.factor)", "plain * (1 - keep + keep / self.factor)", SCALING),
    Mutation("LongRoPE's rows swapped", "self.long if length > self.trained_length else self.short", "self.short if length > self.trained_length else self.long", SCALING),
    Mutation("proportional pairs packed", "int(self.fraction * dim // 2)", "int(self.fraction * dim)", SCALING),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Eight channels, seven positions."""
    from nexus.layers.positional.rope import RotaryEmbedding

    return Example(RotaryEmbedding(8), (torch.arange(7)[None] + seed,))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Frequencies and magnitudes of every scaling; turned queries in both layouts."""
    from transformers.models.llama import modeling_llama as llama

    from nexus.layers.positional.rope import RotaryEmbedding, apply_rotary, to_half_split, to_interleaved

    at = torch.arange(300)[None]
    for what, scaling, given, length in settings():
        config = llama.LlamaConfig(
            hidden_size=32, num_attention_heads=2, max_position_embeddings=64, rope_parameters={"rope_theta": 1e4, **given}
        )  # fmt: skip
        theirs = llama.LlamaRotaryEmbedding(config)
        positions = at[:, :length]
        cos, sin = theirs(torch.zeros(1), positions)
        mine = RotaryEmbedding(16, scaling=scaling)(positions)
        yield Comparison(f"{what}: cosines", mine[0][:, 0], cos)
        yield Comparison(f"{what}: sines", mine[1][:, 0] * torch.tensor([-1] * 8 + [1] * 8), sin)

    x = noise(seed, 2, 3, 30, 16, dtype=torch.float32)
    cos, sin = llama.LlamaRotaryEmbedding(llama.LlamaConfig(hidden_size=32, num_attention_heads=2))(x, at[:, :30])
    half = llama.apply_rotary_pos_emb(x, x, cos, sin)[0]
    rotary = RotaryEmbedding(16)(at[:, :30])
    yield from compare(apply_rotary(x, *rotary), half, {"x": x}, "half split")
    turned = to_interleaved(apply_rotary(to_half_split(x), *rotary))
    yield from compare(
        turned, oracle("rotary_embedding_torch").RotaryEmbedding(16).rotate_queries_or_keys(x), {"x": x}, "interleaved"
    )


def settings() -> Iterator[tuple[str, Any, dict[str, Any], int]]:
    """Name, our scaling, the oracle's parameters, and a length of text."""
    from nexus.layers.positional import rope_scaling as scale

    yield "plain", None, {"rope_type": "default"}, 300
    yield "linear", scale.LinearScaling(4.0), {"rope_type": "linear", "factor": 4.0}, 300
    dynamic = {"rope_type": "dynamic", "factor": 4.0}
    yield "dynamic, short", scale.DynamicNTKScaling(4.0, 64), dynamic, 50
    yield "dynamic, long", scale.DynamicNTKScaling(4.0, 64), dynamic, 300
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    yield "YaRN", scale.YaRNScaling(4.0, 64), yarn, 300
    exact = yarn | {"truncate": False, "beta_fast": 8.0, "attention_factor": 1.5}
    yield "YaRN as in the paper", scale.YaRNScaling(4.0, 64, fast=8.0, truncate=False, attention=1.5), exact, 300
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    llama3["original_max_position_embeddings"] = 64
    yield "Llama 3", scale.Llama3Scaling(8.0, 64), llama3, 300
    rows = tuple(1 + 0.1 * i for i in range(8)), tuple(1 + 0.7 * i for i in range(8))
    longrope: dict[str, Any] = {"rope_type": "longrope", "short_factor": list(rows[0]), "long_factor": list(rows[1])}
    longrope |= {"factor": 4.0, "original_max_position_embeddings": 64}
    yield "LongRoPE, short", scale.LongRoPEScaling(*rows, 64, 4.0), longrope, 50
    yield "LongRoPE, long", scale.LongRoPEScaling(*rows, 64, 4.0), longrope, 300
    proportional = {"rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 2.0}
    yield "proportional", scale.ProportionalScaling(0.5, 2.0), proportional, 300
