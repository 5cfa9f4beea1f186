"""SwiGLU feed-forward block, and its family: GLU, GEGLU, ReGLU, bilinear.

The one idea: a sigmoid-weighted gate multiplies a linear branch before the way back down. The product of the two is
written by hand, because it is all passes over memory: one buffer forward, and in backward the gradients of gate and up
go straight into the two halves of one. Paper: Shazeer 2020 (arXiv:2002.05202), eq. 5 and 6.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nexus.layers.components.project import project


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
        both = project(self.gate_up_proj, x)
        if torch.compiler.is_compiling():  # it fuses this by itself, and cannot trace results written into halves
            gate, up = both.chunk(2, dim=-1)
            return project(self.down_proj, F.silu(gate) * up)
        return project(self.down_proj, _SiluMul.apply(both) if torch.is_grad_enabled() else _silu_mul(both))


GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,  # SwiGLU
    "gelu": F.gelu,  # GEGLU
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),  # GEGLU as T5 1.1 and Gemma compute it
    "relu": F.relu,  # ReGLU
    "sigmoid": torch.sigmoid,  # GLU
    "identity": lambda x: x,  # bilinear
}


class GatedFeedForward(nn.Module):
    """``down(gate_fn(gate(x)) * up(x))`` for any gate of the family (eq. 5 and 6), in :class:`SwiGLU`'s layout.

    Args:
        d_model: width in and out. d_ff: width between.
        gate: a name in `GATES`.
    """

    def __init__(self, d_model: int, d_ff: int, gate: str = "gelu") -> None:
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"gate={gate!r}: is unknown; use one of {', '.join(GATES)}")
        self.gate = gate
        self.gate_up_proj = nn.Linear(d_model, 2 * d_ff, bias=False)
        self.down_proj = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (..., d_model) to the same shape."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(GATES[self.gate](gate) * up)


def matched_width(d_ff: int, multiple: int = 1) -> int:
    """Width of a gated block with as many weights as a plain one of width ``d_ff``: two thirds of it (section 2).

    Args:
        multiple: rounded up to a multiple of this.
    """
    return -(-2 * d_ff // (3 * multiple)) * multiple


def _silu_mul(both: Tensor) -> Tensor:
    """``silu(gate) * up`` of [gate | up] (..., 2 d_ff), as (..., d_ff)."""
    gate, up = both.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)


class _SiluMul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        return _silu_mul(both)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        gate, up = both.chunk(2, dim=-1)
        out = torch.empty_like(both)
        grad_gate, grad_up = out.chunk(2, dim=-1)
        torch.mul(F.silu(gate), grads[0], out=grad_up)
        torch.mul(grads[0], up, out=grad_gate)
        torch.ops.aten.silu_backward.grad_input(grad_gate, gate, grad_input=grad_gate)
        return out
