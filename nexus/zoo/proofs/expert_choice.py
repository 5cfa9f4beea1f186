"""Expert choice beside a loop over experts and tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters

ORACLE = ("torch",)
TOLERANCE = 1e-10
MUTATIONS = (
    Mutation("softmax over tokens", ".softmax(-1).mT", ".softmax(0).mT"),
    Mutation("answers not weighted", " * weights.unsqueeze(-1)", ""),
    Mutation("tokens pick", "self.router(x).softmax(-1).mT.topk", "self.router(x).mT.softmax(0).flip(-1).topk"),
    Mutation("capacity rounded up", "int(len(x) * self.capacity_factor / self.n_experts)", "int(len(x) * self.capacity_factor / self.n_experts) + 1"),
    Mutation("no activation", "F.gelu(flat[tokens] @ self.up.mT)", "(flat[tokens] @ self.up.mT)"),
    Mutation("answers overwritten", "index_add(0, tokens.flatten(), answers.flatten(0, 1))", "index_copy(0, tokens.flatten(), answers.flatten(0, 1))"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Four experts, and a text."""
    from nexus.layers.components.expert_choice import ExpertChoiceMoE

    return Example(
        drawn(ExpertChoiceMoE(8, 12, 4), seed, dtype=torch.float32), (noise(seed, 2, 17, 8, dtype=torch.float32),)
    )


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Three capacities, one of them all tokens."""
    from nexus.layers.components.expert_choice import ExpertChoiceMoE

    x = noise(seed, 2, 9, 8)
    for factor in (0.7, 2.0, 3.0):
        ours = drawn(ExpertChoiceMoE(8, 12, 3, factor), seed)
        loop = _one_by_one(ours, x.flatten(0, 1), int(18 * factor / 3)).view(x.shape)
        yield from compare(ours(x), loop, {**parameters(ours), "x": x}, f"capacity factor {factor}")


def _one_by_one(ours: nn.Module, x: Tensor, count: int) -> Tensor:
    """Eq. 1 and 2: each expert ranks all tokens by the probability they give it, and adds its answers."""
    router, up, down = (ours.get_parameter(name) for name in ("router.weight", "up", "down"))
    out = [torch.zeros(8, dtype=x.dtype) for _ in x]
    shares = torch.stack([(router @ token).exp() / (router @ token).exp().sum() for token in x])
    for expert in range(len(router)):
        ranked = sorted(range(len(x)), key=lambda t: -shares[t, expert].item())
        for t in ranked[:count]:
            hidden = up[expert] @ x[t]
            hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
            out[t] = out[t] + shares[t, expert] * (down[expert] @ hidden)
    return torch.stack(out)
