"""Axial RoPE beside transformers' DINOv3 and rotary-embedding-torch."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, noise, oracle

ORACLE = ("transformers", "rotary-embedding-torch")
TOLERANCE = 1e-5  # both oracles take angles in float32
MUTATIONS = (
    Mutation("columns before rows", "self._axis(height), self._axis(width)", "self._axis(width), self._axis(height)"),
    Mutation("places of corners", "(index + 0.5) / size", "index / size"),
    Mutation("places from 0 to 1", "/ size * 2 - 1)", "/ size)"),
    Mutation("waves of a whole head", "torch.arange(0, 1, 4 / self.head_dim", "torch.arange(0, 0.5, 2 / self.head_dim"),
    Mutation("full turns forgotten", "2 * math.pi * (", "("),
    Mutation("turns the wrong way", "torch.cat((-sin, sin), dim=-1)", "torch.cat((sin, -sin), dim=-1)"),
    Mutation("prefix behind the patches", "(0, 0, prefix, 0)", "(0, 0, 0, prefix)"),
)


def example(seed: int = 0) -> Example:
    """Eight channels, a grid of 3 x 4 and one token before it."""
    from nexus.layers.positional.axial_rope import AxialRoPE

    return Example(AxialRoPE(8), (3 + seed, 4, 1))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Normalised places with tokens in front; indices, the oracle's channels put into our order."""
    from transformers.models.dinov3_vit import modeling_dinov3_vit as dino

    from nexus.layers.positional.axial_rope import AxialRoPE
    from nexus.layers.positional.rope import apply_rotary, to_half_split

    height, width = 3 + seed % 3, 5
    config = dino.DINOv3ViTConfig(hidden_size=32, num_attention_heads=2, patch_size=4, image_size=16, rope_theta=100.0)
    theirs = dino.DINOv3ViTRopePositionEmbedding(config).eval()
    x = noise(seed, 2, 3, 2 + height * width, 16, dtype=torch.float32)
    cos, sin = theirs(torch.zeros(1, 3, 4 * height, 4 * width))
    y = dino.apply_rotary_pos_emb(x, x, cos, sin)[0]
    mine = apply_rotary(x, *AxialRoPE(16, places="normalised")(height, width, prefix=2))
    yield from compare(mine, y, {"x": x}, "DINOv3")

    peer = oracle("rotary_embedding_torch")
    frequencies = (
        peer.RotaryEmbedding(8, theta=100.0).get_axial_freqs(height, width).flatten(0, 1)
    )  # neighbouring pairs, rows first
    x = noise(seed, 2, 3, height * width, 16, dtype=torch.float32)
    turned = to_half_split(peer.apply_rotary_emb(frequencies, x))
    yield from compare(apply_rotary(to_half_split(x), *AxialRoPE(16)(height, width)), turned, {"x": x}, "indices")
