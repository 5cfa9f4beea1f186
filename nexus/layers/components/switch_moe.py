"""Switch and GShard: experts with a capacity.

The one idea: every expert takes at most a fixed number of tokens of a sequence, so that its work is bounded; what is
over is dropped and passes through the residual only. Switch sends a token to one expert, GShard to two. Papers: Fedus
et al. 2021 (arXiv:2101.03961), eq. 1 to 6; Lepikhin et al. 2020 (arXiv:2006.16668), algorithm 1.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.components.moe import Routing, mixture


class Dispatch(NamedTuple):
    """Routing of (B, T) tokens to E experts of C places.

    Attributes:
        logits: (B, T, E). experts, weights: (B, T, k).
        place: (B, T, k) place in the expert's row; C and more is dropped.
    """

    logits: Tensor
    experts: Tensor
    weights: Tensor
    place: Tensor


class SwitchMoE(nn.Module):
    """Feed-forward experts with ReLU and a capacity, in place of a feed-forward block.

    Args:
        d_model: width in and out. d_ff: width of one expert.
        n_experts: experts.
        top_k: 1 for Switch (weight: the router's probability), 2 for GShard (weights normalised over the two).
        capacity_factor: places an expert has, over an even share of the tokens.
        capacity: places, whatever the length of the text; None for the factor's.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        n_experts: int,
        top_k: int = 1,
        capacity_factor: float = 1.25,
        capacity: int | None = None,
    ) -> None:
        super().__init__()
        if top_k not in (1, 2):
            raise ValueError(f"top_k={top_k}: use 1 (Switch) or 2 (GShard); MoE takes any number, without a capacity")
        self.n_experts, self.top_k = n_experts, top_k
        self.capacity_factor, self.capacity = capacity_factor, capacity
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.up = nn.Parameter(torch.empty(n_experts, d_ff, d_model).uniform_(-1, 1) * d_model**-0.5)
        self.down = nn.Parameter(torch.empty(n_experts, d_model, d_ff).uniform_(-1, 1) * d_ff**-0.5)

    def places(self, length: int) -> int:
        """Tokens of one sequence that an expert takes (eq. 3)."""
        return self.capacity or math.ceil(length * self.top_k / self.n_experts * self.capacity_factor)

    def route(self, x: Tensor) -> Dispatch:
        """Experts, weights and places for ``x`` (B, T, d_model); first choices are seated before second ones."""
        logits = self.router(x)
        shares = logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        weights, experts = shares.topk(self.top_k, dim=-1)
        if self.top_k > 1:
            weights = weights / weights.sum(-1, keepdim=True)
        seat = nn.functional.one_hot(experts, self.n_experts)  # (B, T, k, E)
        in_order = seat.transpose(1, 2).flatten(1, 2)  # all first choices in the text's order, then all second ones
        before = (in_order.cumsum(1) - in_order).unflatten(1, (self.top_k, -1)).transpose(1, 2)
        return Dispatch(logits, experts, weights.to(x.dtype), (before * seat).sum(-1))

    def forward(self, x: Tensor, dispatch: Dispatch | None = None) -> Tensor:
        """Map ``x`` (B, T, d_model) to the same shape; dropped tokens get zeros."""
        dispatch = dispatch or self.route(x)
        over = dispatch.place >= self.places(x.shape[1])
        experts = dispatch.experts.masked_fill(over, self.n_experts)  # none
        routing = Routing(dispatch.logits, experts.flatten(0, 1), dispatch.weights.flatten(0, 1))
        return mixture(x.flatten(0, 1), routing, expert_relu, self.up, self.down).view(x.shape)

    def dropped(self, dispatch: Dispatch) -> int:
        """How many choices found no place."""
        return int((dispatch.place >= self.places(dispatch.place.shape[1])).sum())


def expert_relu(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """What one expert answers to its tokens ``x`` (n, d_model)."""
    return F.linear(F.linear(x, up).relu(), down)


def switch_balance(dispatch: Dispatch) -> Tensor:
    """``E sum_e f_e P_e`` within each sequence, then the mean (eq. 4 to 6); f counts first choices."""
    n_experts = dispatch.logits.shape[-1]
    picked = nn.functional.one_hot(dispatch.experts[..., 0], n_experts).to(dispatch.logits.dtype).mean(1)
    return n_experts * (picked * dispatch.logits.softmax(-1).mean(1)).sum(-1).mean()
