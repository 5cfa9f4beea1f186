"""A gated feed-forward block with its matrices apart, as the hybrids' checkpoints have them."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

Activation = Callable[[Tensor], Tensor]


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
