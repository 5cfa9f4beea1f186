"""Top-k mixture of experts beside transformers' Mixtral and OLMoE."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("transformers",)
TOLERANCE = 1e-6  # Mixtral takes the router's softmax in float32
MUTATIONS = (
    Mutation("weights not normalised", "weights = weights / weights.sum(-1, keepdim=True)\n", "pass\n"),
    Mutation("answers not weighted", "answers * routing.weights.flatten()[order].unsqueeze(-1)", "answers"),
    Mutation("weights in the tokens' order", "routing.weights.flatten()[order]", "routing.weights.flatten()"),
    Mutation("gate and up swapped", "gate, up = F.linear(x", "up, gate = F.linear(x"),
    Mutation("answers given to the wrong token", "token = order // routing.experts.shape[1]", "token = order % len(x)"),
    Mutation("balance over picks instead of tokens", "/ len(routing.experts)", "/ routing.experts.numel()"),
    Mutation("balance not times the experts", "return n_experts * (picked", "return (picked"),
    Mutation("z-loss not squared", ".logsumexp(-1).square().mean()", ".logsumexp(-1).mean()"),
)


def example(seed: int = 0) -> Example:
    """Four experts of which a token uses two, and a text."""
    from nexus.layers.components.moe import MoE

    return Example(drawn(MoE(8, 12, 4, 2), seed, dtype=torch.float32), (noise(seed, 2, 17, 8, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Outputs and both losses of the router, normalised (Mixtral) and not (OLMoE)."""
    from transformers.models.mixtral import modeling_mixtral as mixtral
    from transformers.models.olmoe import modeling_olmoe as olmoe
    from transformers.models.switch_transformers.modeling_switch_transformers import router_z_loss_func

    from nexus.layers.components.moe import MoE, load_balance, router_z

    x = noise(seed, 2, 11, 8)
    shared = {"hidden_size": 8, "intermediate_size": 12, "num_experts_per_tok": 2}
    for normalise in (True, False):
        ours = drawn(MoE(8, 12, 5, 2, normalise), seed)
        weights = {
            "gate.weight": ours.router.weight,
            "experts.gate_up_proj": ours.experts.gate_up,
            "experts.down_proj": ours.experts.down,
        }
        if normalise:
            theirs = mixtral.MixtralSparseMoeBlock(mixtral.MixtralConfig(num_local_experts=5, **shared))
        else:
            theirs = olmoe.OlmoeSparseMoeBlock(olmoe.OlmoeConfig(num_experts=5, norm_topk_prob=False, **shared))
        theirs.double().config = None
        routing = ours.route(x)
        leaves = {**parameters(ours), "x": x}
        yield from compare(ours(x, routing), run(theirs, weights, x), leaves, f"normalise={normalise}")
        router = {"x": x, "router": ours.router.weight}
        balance = mixtral.load_balancing_loss_func((routing.logits,), 5, 2)
        yield from compare(load_balance(routing), balance, router, "balance")
        yield from compare(router_z(routing), router_z_loss_func(routing.logits[None]), router, "z-loss")
