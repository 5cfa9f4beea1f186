"""Mixture of experts: every token is worked on by the few experts its router picks.

The one idea: many feed-forward blocks hold more than one could, and only k of them run for a token. Papers: Shazeer et
al. 2017 (arXiv:1701.06538), eq. 1 to 5; in today's form (SwiGLU experts, softmax, no noise) Mixtral (arXiv:2401.04088),
section 2.1, and OLMoE (arXiv:2409.02060), which does not normalise the weights of the picked experts again.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Routing(NamedTuple):
    """Where N tokens go: logits (N, E), and for each token its k experts and their weights (N, k)."""

    logits: Tensor
    experts: Tensor
    weights: Tensor


class Experts(nn.Module):
    """``n_experts`` SwiGLU blocks, their weights in two tensors; gate rows before up rows.

    Args:
        n_experts: blocks. d_model: width in and out. d_ff: width between.
    """

    def __init__(self, n_experts: int, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.empty(n_experts, 2 * d_ff, d_model).uniform_(-1, 1) * d_model**-0.5)
        self.down = nn.Parameter(torch.empty(n_experts, d_model, d_ff).uniform_(-1, 1) * d_ff**-0.5)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """Weighted sum of the picked experts' answers for ``x`` (N, d_model)."""
        return mixture(x, routing, expert_swiglu, self.gate_up, self.down)


def expert_swiglu(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """What one expert answers to its tokens ``x`` (n, d_model)."""
    gate, up = F.linear(x, gate_up).chunk(2, dim=-1)
    return F.linear(F.silu(gate) * up, down)


def mixture(x: Tensor, routing: Routing, expert: Callable[..., Tensor], *weights: Tensor) -> Tensor:
    """Weighted sum over each token's experts of what they answer.

    Args:
        x: (N, D). routing: an expert's number that is one too large says that the token goes to none.
        expert: answers (n, D) to its tokens (n, D), given its own row of each of the ``weights``.
        weights: of all experts, each (E, ...).
    """
    chosen = routing.experts.flatten()
    counts = chosen.bincount(minlength=len(weights[0])).tolist()[: len(weights[0])]
    order = chosen.argsort(stable=True)[: sum(counts)]  # all tokens of an expert side by side: one product each
    token = order // routing.experts.shape[1]
    # Unbound, all experts' weights get one gradient; indexed, each expert's would be as large as that of all.
    parts = zip(x.index_select(0, token).split(counts), *(w.unbind() for w in weights), strict=True)
    answers = torch.cat([expert(*part) for part in parts])
    return torch.zeros_like(x).index_add_(0, token, answers * routing.weights.flatten()[order].unsqueeze(-1))


class MoE(nn.Module):
    """Top-k mixture of SwiGLU experts in place of a feed-forward block.

        routing = moe.route(x)
        y = moe(x, routing)
        loss = loss + 0.01 * load_balance(routing) + 0.001 * router_z(routing)

    Args:
        d_model: width in and out. d_ff: width of one expert.
        n_experts: experts. top_k: how many a token uses.
        normalise: weights of the picked experts sum to 1 (Mixtral), or are left as they are (OLMoE).
    """

    def __init__(self, d_model: int, d_ff: int, n_experts: int, top_k: int = 2, normalise: bool = True) -> None:
        super().__init__()
        if not 1 <= top_k <= n_experts:
            raise ValueError(f"top_k={top_k}: must be from 1 to n_experts={n_experts}")
        self.top_k, self.normalise = top_k, normalise
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.experts = Experts(n_experts, d_model, d_ff)

    def route(self, x: Tensor) -> Routing:
        """Experts and weights for the tokens of ``x`` (..., d_model)."""
        logits = self.router(x.flatten(0, -2))
        # Softmax in float32 at least: near ties a half-precision one picks by rounding.
        shares = logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        weights, experts = shares.topk(self.top_k, dim=-1)
        if self.normalise:
            weights = weights / weights.sum(-1, keepdim=True)
        return Routing(logits, experts, weights.to(x.dtype))

    def forward(self, x: Tensor, routing: Routing | None = None) -> Tensor:
        """Map ``x`` (..., d_model) to the same shape; ``routing`` from :meth:`route` if its losses are wanted."""
        return self.experts(x.flatten(0, -2), routing or self.route(x)).view(x.shape)


def load_balance(routing: Routing) -> Tensor:
    """``E sum_e f_e P_e``: share of picks times mean probability (Switch, arXiv:2101.03961, eq. 4); k if balanced."""
    n_experts = routing.logits.shape[-1]
    picked = routing.experts.flatten().bincount(minlength=n_experts) / len(routing.experts)
    return n_experts * (picked * routing.logits.softmax(-1).mean(0)).sum()


def router_z(routing: Routing) -> Tensor:
    """Mean square of the log of the softmax's sum; keeps logits small (ST-MoE, arXiv:2202.08906, eq. 5)."""
    return routing.logits.logsumexp(-1).square().mean()
