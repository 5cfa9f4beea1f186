"""DeepSeekMoE beside transformers' DeepSeek-V3."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("transformers",)
TOLERANCE = 1e-6  # the oracle's router works in float32
MUTATIONS = (
    Mutation("bias in the weights", "weights = affinity.gather(1, experts)", "weights = (affinity + self.load_bias).gather(1, experts)"),
    Mutation("bias forgotten", "choice = affinity + self.load_bias", "choice = affinity"),
    Mutation("softmax affinity", "affinity = logits.sigmoid()", "affinity = logits.softmax(-1)"),
    Mutation("scale forgotten", "weights * self.scale)", "weights)"),
    Mutation("shared experts forgotten", " + self.shared(flat)", ""),
    Mutation("a group is as good as its best expert", "groups.topk(2, dim=-1)", "groups.topk(1, dim=-1)"),
    Mutation("weights not normalised", "weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)", "pass"),
    Mutation("busy experts get more", "(load.mean() - load).sign()", "(load - load.mean()).sign()"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Eight experts in two groups, a token uses two and a shared one; a text."""
    from nexus.layers.components.deepseek_moe import DeepSeekMoE

    layer = drawn(DeepSeekMoE(8, 6, 8, 2, n_groups=2), seed, dtype=torch.float32)
    return Example(layer, (noise(seed, 2, 33, 8, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Groups and a bias, with and without normalisation; one step of balancing."""
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek

    from nexus.layers.components.deepseek_moe import DeepSeekMoE

    x = noise(seed, 2, 11, 8, dtype=torch.float32)
    bias = 0.3 * noise(seed + 1, 8, dtype=torch.float32).detach()
    for normalise, groups in ((True, (4, 2)), (False, (1, 1))):
        layer = DeepSeekMoE(8, 6, 8, 3, 2, *groups, normalise=normalise, scale=2.5)
        ours = drawn(layer, seed, dtype=torch.float32)
        ours.load_bias.copy_(bias)
        config = deepseek.DeepseekV3Config(
            hidden_size=8, moe_intermediate_size=6, n_routed_experts=8, num_experts_per_tok=3, n_shared_experts=2,
            n_group=groups[0], topk_group=groups[1], norm_topk_prob=normalise, routed_scaling_factor=2.5,
        )  # fmt: skip
        gate, up = ours.shared.gate_up_proj.weight.chunk(2)
        weights = {
            "gate.weight": ours.router.weight, "gate.e_score_correction_bias": bias,
            "experts.gate_up_proj": ours.experts.gate_up, "experts.down_proj": ours.experts.down,
            "shared_experts.gate_proj.weight": gate, "shared_experts.up_proj.weight": up,
            "shared_experts.down_proj.weight": ours.shared.down_proj.weight,
        }  # fmt: skip
        y = run(deepseek.DeepseekV3MoE(config), weights, x)
        yield from compare(ours(x), y, {**parameters(ours), "x": x}, f"normalise={normalise}, {groups[0]} groups")
    routing = ours.route(x)
    ours.balance(routing, 0.5)
    counts = torch.tensor([int((routing.experts == e).sum()) for e in range(8)])
    step = torch.tensor([0.5 if c < 66 / 8 else -0.5 for c in counts.tolist()])  # 22 tokens, 3 experts each
    yield Comparison("bias after a step", ours.load_bias, bias + step)
