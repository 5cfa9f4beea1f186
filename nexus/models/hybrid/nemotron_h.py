"""Nemotron-H: one mixer a block, after a plan that is spelled out.

The one idea: Mamba-2, attention and feed-forward are all just blocks, ``x + mixer(norm(x))``, in any order; about eight
in a hundred are attention, without positions, and the feed-forward ones use a squared ReLU without a gate. Paper:
NVIDIA 2025 (arXiv:2504.03624), section 2.1; experts with a sigmoid router: Nemotron 3 (2025), after DeepSeek-V3
(arXiv:2412.19437), section 2.1.2.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.base import BaseConfig, divides, fault, in_range, positive
from nexus.layers.components import RMSNorm
from nexus.layers.components.gelu import relu_squared
from nexus.layers.components.moe import Routing, mixture
from nexus.layers.ssm.mamba2 import Mamba2
from nexus.models.hybrid._attention import CachedAttention
from nexus.models.hybrid._stack import HybridStack, Residual, Stateless


@dataclass(frozen=True, kw_only=True)
class NemotronHConfig(BaseConfig):
    """Sizes; ``plan`` has one letter a block: 'M' Mamba-2, '*' attention, '-' feed-forward, 'E' experts.

    ``dt_min`` bounds Mamba-2's step from below.
    """

    vocab_size: int = 131_072
    d_model: int = 4_096
    plan: str = "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"
    d_ff: int = 21_504
    n_heads: int = 32
    n_kv_heads: int = 8
    head_dim: int = 128
    ssm_heads: int = 128
    ssm_head_dim: int = 64
    ssm_groups: int = 8
    d_state: int = 128
    d_conv: int = 4
    chunk_size: int = 64
    dt_min: float = 1e-3
    n_experts: int = 8
    top_k: int = 2
    d_expert: int = 7_688
    d_shared: int = 7_688
    routed_scale: float = 1.0
    norm_eps: float = 1e-5
    tie_embeddings: bool = False

    def faults(self) -> list[str]:
        """Everything that is wrong with the sizes."""
        sizes = (
            "vocab_size d_model d_ff n_heads n_kv_heads head_dim ssm_heads ssm_head_dim ssm_groups d_state d_conv "
            "chunk_size n_experts top_k d_expert d_shared routed_scale norm_eps"
        )
        found = positive(self, *sizes.split())
        found += [*divides(self, "n_kv_heads", "n_heads"), *divides(self, "ssm_groups", "ssm_heads")]
        if not self.plan or set(self.plan) - set("M*-E"):
            cure = "use M (Mamba-2), * (attention), - (feed-forward) and E (experts)"
            found.append(fault("plan", self.plan, "has unknown blocks", cure))
        return found + in_range(self, "top_k", 1, self.n_experts)

    @classmethod
    def tiny(cls) -> Self:
        """Five blocks, one of each kind and one Mamba-2 more."""
        return cls(
            vocab_size=97, d_model=32, plan="M-M*E", d_ff=48, n_heads=4, n_kv_heads=2, head_dim=8, ssm_heads=4,
            ssm_head_dim=16, ssm_groups=2, d_state=8, chunk_size=8, n_experts=4, d_expert=16, d_shared=24,
            routed_scale=1.5,
        )  # fmt: skip


class SquaredReLUMLP(nn.Module):
    """``W_down relu(W_up x)^2``, (..., d_model) in and out."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.up_proj, self.down_proj = nn.Linear(d_model, d_ff, bias=False), nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix channels."""
        return self.down_proj(relu_squared(self.up_proj(x)))


class SigmoidExperts(nn.Module):
    """Top-k experts by sigmoid scores, of which a bias, not learnt by gradient, balances the choice; and a shared one.

    Attributes:
        balance: (n_experts,) added to the scores for the choice only.
    """

    balance: Tensor

    def __init__(self, config: NemotronHConfig) -> None:
        super().__init__()
        c = config
        self.top_k, self.routed_scale = c.top_k, c.routed_scale
        self.router = nn.Linear(c.d_model, c.n_experts, bias=False)
        self.register_buffer("balance", torch.zeros(c.n_experts))
        self.experts_up = nn.Parameter(torch.randn(c.n_experts, c.d_expert, c.d_model) * c.d_model**-0.5)
        self.experts_down = nn.Parameter(torch.randn(c.n_experts, c.d_model, c.d_expert) * c.d_expert**-0.5)
        self.shared = SquaredReLUMLP(c.d_model, c.d_shared)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d_model) in and out."""
        tokens = x.flatten(0, -2)
        logits = self.router(tokens)
        scores = torch.sigmoid(logits)
        chosen = (scores + self.balance).topk(self.top_k, dim=-1).indices
        shares = scores.gather(-1, chosen)
        shares = self.routed_scale * shares / (shares.sum(-1, keepdim=True) + 1e-20)
        routed = mixture(tokens, Routing(logits, chosen, shares), _expert, self.experts_up, self.experts_down)
        return routed.view_as(x) + self.shared(x)


def _expert(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.linear(relu_squared(F.linear(x, up)), down)


class NemotronH(HybridStack):
    """The model; see :class:`nexus.models.hybrid._stack.HybridStack` for its calls."""

    config_class = NemotronHConfig
    config: NemotronHConfig

    def __init__(self, config: NemotronHConfig) -> None:
        super().__init__(config)
        c = self.config
        self._frame(c.vocab_size, c.d_model, c.tie_embeddings)
        self.layers = nn.ModuleList(Residual(RMSNorm(c.d_model, c.norm_eps), self._mixer(kind)) for kind in c.plan)
        self.norm = RMSNorm(c.d_model, c.norm_eps)

    def _mixer(self, kind: str) -> nn.Module:
        c = self.config
        if kind == "M":
            return Mamba2(
                c.d_model, c.ssm_heads, c.ssm_head_dim, c.d_state, c.ssm_groups, c.d_conv, c.chunk_size,
                eps=c.norm_eps, dt_min=c.dt_min,
            )  # fmt: skip
        if kind == "*":
            return CachedAttention(c.d_model, c.n_heads, c.n_kv_heads, c.head_dim)
        return Stateless(SquaredReLUMLP(c.d_model, c.d_ff) if kind == "-" else SigmoidExperts(c))
