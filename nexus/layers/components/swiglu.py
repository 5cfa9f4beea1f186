"""SwiGLU feed-forward block.

The one idea: a sigmoid-weighted gate multiplies a linear branch before the way back down.
Paper: Shazeer 2020 (arXiv:2002.05202), eq. 6.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class SwiGLU(nn.Module):
    """``down(silu(gate(x)) * up(x))``; gate and up are one matrix, gate rows first.

    Args:
        d_model: width in and out.
        d_ff: width between.
    """

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(d_model, 2 * d_ff, bias=False)  # one GEMM instead of two
        self.down_proj = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (..., d_model) to the same shape."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)
