"""Switch beside transformers' SwitchTransformers; GShard's two choices beside a loop over tokens."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nexus.zoo.proof import Comparison, Example, Mutation
from nexus.zoo.proofs._shared import compare, drawn, noise, parameters, run

ORACLE = ("transformers", "torch")
TOLERANCE = 1e-6  # the oracle's router works in float32
MUTATIONS = (
    Mutation("one place too many", "over = dispatch.place >= self", "over = dispatch.place > self"),
    Mutation("capacity over the batch", "in_order.cumsum(1)", "in_order.cumsum(1) + in_order.sum(1, keepdim=True).cumsum(0) - in_order.sum(1, keepdim=True)"),
    Mutation("answers not weighted", "dispatch.weights.flatten(0, 1)", "dispatch.weights.flatten(0, 1) * 0 + 1"),
    Mutation("who is dropped goes to the last expert", "(over, self.n_experts)", "(over, self.n_experts - 1)"),
    Mutation("second choices seated with the first", "seat.transpose(1, 2).flatten(1, 2)", "seat.flatten(1, 2)"),
    Mutation("balance over probabilities only", "picked * dispatch.logits", "dispatch.logits.softmax(-1).mean(1) * dispatch.logits"),
    Mutation("no activation", "F.linear(x, up).relu()", "F.linear(x, up)"),
    Mutation("first weight for both choices", "weights.to(x.dtype)", "weights[..., :1].expand_as(weights).to(x.dtype)"),
)  # fmt: skip


def example(seed: int = 0) -> Example:
    """Four experts, a token uses one, and a text."""
    from nexus.layers.components.switch_moe import SwitchMoE

    layer = drawn(SwitchMoE(8, 12, 4, capacity_factor=2.0), seed, dtype=torch.float32)
    return Example(layer, (noise(seed, 2, 17, 8, dtype=torch.float32),))


def prove(seed: int = 0) -> Iterator[Comparison]:
    """Every capacity from 1 to enough: outputs, balance, and the number of dropped tokens."""
    from transformers.models.switch_transformers import modeling_switch_transformers as switch

    from nexus.layers.components.switch_moe import SwitchMoE, switch_balance

    x = noise(seed, 2, 11, 8, dtype=torch.float32)
    for capacity in (1, 2, 4, 11):
        ours = drawn(SwitchMoE(8, 12, 3, capacity=capacity), seed, dtype=torch.float32)
        config = switch.SwitchTransformersConfig(
            d_model=8, d_ff=12, num_experts=3, expert_capacity=capacity, router_jitter_noise=0.0, dropout_rate=0.0
        )  # fmt: skip
        theirs = switch.SwitchTransformersSparseMLP(config).eval()
        weights = {"router.classifier.weight": ours.router.weight}
        for i in range(3):
            weights |= {f"experts.expert_{i}.wi.weight": ours.up[i], f"experts.expert_{i}.wo.weight": ours.down[i]}
        leaves, dispatch = {**parameters(ours), "x": x}, ours.route(x)
        yield from compare(ours(x, dispatch), run(theirs, weights, x), leaves, f"{capacity} places")
        index, _, logits = run(theirs.router, {"classifier.weight": ours.router.weight}, x)
        balance = switch.load_balancing_loss_func(logits.softmax(-1), dispatch.experts[..., 0])
        router = {"x": x, "router": ours.router.weight}
        yield from compare(switch_balance(dispatch), balance, router, "balance")
        kept = torch.tensor(22 - ours.dropped(dispatch))
        yield Comparison(f"kept with {capacity} places", kept, index.sum())
    wide = x.detach().double().requires_grad_()
    for capacity in (1, 3, 11):
        ours = drawn(SwitchMoE(8, 12, 3, top_k=2, capacity=capacity), seed)
        yield from compare(
            ours(wide),
            _seat_by_seat(ours, wide, capacity),
            {**parameters(ours), "x": wide},
            f"GShard, {capacity} places",
        )


def _seat_by_seat(ours: nn.Module, x: Tensor, capacity: int) -> Tensor:
    """GShard's algorithm 1 as a loop: all first choices of a sequence in order, then all second ones."""
    router, up, down = (ours.get_parameter(name) for name in ("router.weight", "up", "down"))
    rows = []
    for text in x:
        taken, out = [0] * len(router), [torch.zeros(8, dtype=x.dtype) for _ in text]
        for choice in range(2):
            for t, token in enumerate(text):
                shares = (router @ token).softmax(-1)
                best = shares.argsort(descending=True)[:2]
                expert = int(best[choice])
                if taken[expert] < capacity:
                    weight = shares[expert] / shares[best].sum()
                    out[t] = out[t] + weight * (down[expert] @ (up[expert] @ token).clamp(min=0))
                taken[expert] += 1
        rows.append(torch.stack(out))
    return torch.stack(rows)
