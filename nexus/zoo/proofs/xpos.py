"""xPos beside rotary-embedding-torch, and eq. 12 in double precision."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, noise, oracle

ORACLE = ("rotary-embedding-torch",)
TOLERANCE = 1e-5  # the oracle takes angles in float32
MUTATIONS = (
    Mutation("keys grow too", "(cos * fade, sin * fade)", "(cos * grow, sin * grow)"),
    Mutation("queries do not grow", "return (cos * grow, sin * grow)", "return (cos, sin)"),
    Mutation("gamma forgotten", "(torch.arange(0, width, 2, device=device, dtype=torch.float64) / width + GAMMA) / (1 + GAMMA)", "(torch.arange(0, width, 2, device=device, dtype=torch.float64) + 2) / width"),
    Mutation("centre of the text missed", "(int(positions.max()) + 1) // 2", "0"),
    Mutation("scale base forgotten", "[:, None, :, None] / self.scale_base", "[:, None, :, None]"),
    Mutation("neighbouring scales", "torch.cat((scale, scale), dim=-1)", "scale.repeat_interleave(2, -1)"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Eight channels, seven positions."""
    from nexus.layers.positional.xpos import XPos

    return Example(XPos(8), (torch.arange(7)[None] + seed,))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Turned and scaled queries and keys, and their products."""
    from nexus.layers.positional.rope import apply_rotary, to_half_split, to_interleaved
    from nexus.layers.positional.xpos import XPos

    q, k = (noise(seed + i, 2, 3, 40, 16, dtype=torch.float32) for i in range(2))
    peer = oracle("rotary_embedding_torch")
    theirs = peer.RotaryEmbedding(16, use_xpos=True, xpos_scale_base=32).rotate_queries_and_keys(q, k)
    rotaries = XPos(16, scale_base=32)(torch.arange(40)[None])
    ours = [to_interleaved(apply_rotary(to_half_split(t), *r)) for t, r in zip((q, k), rotaries, strict=True)]
    yield from compare(ours[0], theirs[0], {"q": q}, "queries")
    yield from compare(ours[1], theirs[1], {"k": k}, "keys")

    wide = [noise(seed + i, 1, 1, 12, 8) for i in range(2)]
    rotaries = XPos(8, scale_base=16)(torch.arange(12)[None], torch.float64)
    q, k = (apply_rotary(t, *r) for t, r in zip(wide, rotaries, strict=True))
    yield from compare(q @ k.mT, _products(*wide), dict(zip("qk", wide, strict=True)), "products, eq. 12")


def _products(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """``sum_i zeta_i^((n - m) / base) Re(q_i conj(k_i) e^(i theta (n - m)))`` with complex numbers, pair by pair."""
    q, k = (torch.complex(t[..., :4], t[..., 4:]) for t in (q, k))
    gap = (torch.arange(12)[:, None] - torch.arange(12)).double()
    total = torch.zeros(1, 1, 12, 12, dtype=torch.float64)
    for i in range(4):
        zeta, theta = (2 * i / 8 + 0.4) / 1.4, 10_000.0 ** (-2 * i / 8)
        turned = torch.polar(zeta ** (gap / 16), theta * gap)
        total = total + (q[..., i, None] * k[..., i].conj().unsqueeze(-2) * turned).real
    return total
