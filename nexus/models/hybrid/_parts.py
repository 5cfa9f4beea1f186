"""Small parts that several hybrids share: feed-forward blocks, experts, a norm that starts at zero."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Callable[[Tensor], Tensor]


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU in its tanh form, as Gemma uses it."""
    return F.gelu(x, approximate="tanh")


def squared_relu(x: Tensor) -> Tensor:
    """``relu(x)^2`` (Primer, arXiv:2109.08668)."""
    return F.relu(x).square()


class GatedMLP(nn.Module):
    """``W_down (act(W_gate x) * W_up x)``, (..., d_model) in and out."""

    def __init__(self, d_model: int, d_ff: int, act: Activation = F.silu, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(d_model, d_ff, bias=bias) for _ in range(2))
        self.down_proj = nn.Linear(d_ff, d_model, bias=bias)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """Mix channels."""
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class OffsetRMSNorm(nn.Module):
    """RMSNorm that multiplies by ``1 + weight``: the weight starts at 0 (Gemma)."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.zeros(dim)), eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (..., dim)."""
        return F.rms_norm(x, self.weight.shape, 1 + self.weight, self.eps)


class Experts(nn.Module):
    """Top-k experts of gated feed-forward blocks, (B, T, d_model) in and out (arXiv:1701.06538).

    Args:
        d_model, d_ff: width, and inner width of an expert. n_experts, top_k: experts, and how many a token goes to.
        normalise: the chosen shares add up to 1 (Mixtral, Qwen); False keeps the softmax over all (Jamba).
    """

    def __init__(self, d_model: int, d_ff: int, n_experts: int, top_k: int, normalise: bool = False) -> None:
        super().__init__()
        self.top_k, self.normalise = top_k, normalise
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.experts_gate_up = nn.Parameter(torch.randn(n_experts, 2 * d_ff, d_model) * d_model**-0.5)
        self.experts_down = nn.Parameter(torch.randn(n_experts, d_model, d_ff) * d_ff**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Send each token to its experts and add up their answers."""
        shares, chosen = self.router(x).softmax(-1).topk(self.top_k, dim=-1)
        if self.normalise:
            shares = shares / shares.sum(-1, keepdim=True)
        return dispatch(x, shares, chosen, self._expert, len(self.experts_down))

    def _expert(self, index: int, x: Tensor) -> Tensor:
        gate, up = F.linear(x, self.experts_gate_up[index]).chunk(2, dim=-1)
        return F.linear(F.silu(gate) * up, self.experts_down[index])


def dispatch(
    x: Tensor, shares: Tensor, chosen: Tensor, expert: Callable[[int, Tensor], Tensor], n_experts: int
) -> Tensor:
    """Sum over each token's experts of share times answer.

    Args:
        x: (B, T, D). shares, chosen: (B, T, k). expert: answers (n, D) of one expert for its tokens (n, D).
    """
    tokens, shares, chosen = x.flatten(0, -2), shares.flatten(0, -2), chosen.flatten(0, -2)
    total = torch.zeros_like(tokens)
    for index in range(n_experts):
        row, slot = torch.where(chosen == index)
        total = total.index_add(0, row, expert(index, tokens[row]) * shares[row, slot].unsqueeze(-1))
    return total.view_as(x)
