"""DeepSeekMoE: many small experts, some of them shared, balanced by a bias.

The one idea: split experts finely, so that combinations are many; let every token use a few shared ones, so that the
others need not repeat what is common; and balance loads by a bias that only the picking sees, not by a loss. Papers:
Dai et al. 2024 (arXiv:2401.06066), eq. 9 to 11; Wang et al. 2024 (arXiv:2408.15664), algorithm 1; DeepSeek-V3
(arXiv:2412.19437), eq. 12 to 16.
"""

import torch
from torch import Tensor, nn

from nexus.layers.components.moe import Experts, Routing
from nexus.layers.components.swiglu import SwiGLU


class DeepSeekMoE(nn.Module):
    """Shared and routed SwiGLU experts in place of a feed-forward block.

    Args:
        d_model: width in and out. d_ff: width of one expert.
        n_experts: routed experts. top_k: how many of them a token uses. n_shared: experts that all tokens use.
        n_groups: groups of experts. top_groups: only the experts of so many groups may be picked (V3's limit of nodes).
        normalise: weights of the picked experts sum to ``scale``.
        scale: factor of the routed experts' weights.
    """

    load_bias: Tensor

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        n_experts: int,
        top_k: int,
        n_shared: int = 1,
        n_groups: int = 1,
        top_groups: int = 1,
        normalise: bool = True,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if n_experts % n_groups or top_k > n_experts // n_groups * top_groups:
            raise ValueError(
                f"n_groups={n_groups}, top_groups={top_groups}, top_k={top_k}: groups must divide {n_experts} experts "
                "and the picked groups must hold at least top_k experts"
            )
        self.top_k, self.n_groups, self.top_groups = top_k, n_groups, top_groups
        self.normalise, self.scale = normalise, scale
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.register_buffer("load_bias", torch.zeros(n_experts))
        self.experts = Experts(n_experts, d_model, d_ff)
        self.shared = SwiGLU(d_model, n_shared * d_ff)  # experts that always run are one wider block

    def route(self, x: Tensor) -> Routing:
        """Experts and weights for the tokens of ``x`` (..., d_model); the bias picks, the weights do not know it."""
        logits = self.router(x.flatten(0, -2))
        affinity = logits.sigmoid()
        choice = affinity + self.load_bias
        if self.n_groups > 1:
            groups = choice.unflatten(-1, (self.n_groups, -1))
            best = groups.topk(2, dim=-1).values.sum(-1)  # a group is as good as its two best experts
            kept = torch.zeros_like(best, dtype=torch.bool).scatter(1, best.topk(self.top_groups, dim=-1).indices, True)
            choice = groups.masked_fill(~kept.unsqueeze(-1), float("-inf")).flatten(1)
        experts = choice.topk(self.top_k, dim=-1).indices
        weights = affinity.gather(1, experts)
        if self.normalise:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return Routing(logits, experts, weights * self.scale)

    def forward(self, x: Tensor, routing: Routing | None = None) -> Tensor:
        """Map ``x`` (..., d_model) to the same shape."""
        flat = x.flatten(0, -2)
        return (self.experts(flat, routing or self.route(x)) + self.shared(flat)).view(x.shape)

    @torch.no_grad()
    def balance(self, routing: Routing, rate: float = 1e-3) -> None:
        """After a training step: more bias for experts with too little to do, less for the others (algorithm 1)."""
        load = routing.experts.flatten().bincount(minlength=len(self.load_bias)).to(self.load_bias.dtype)
        self.load_bias += rate * (load.mean() - load).sign()
