"""LRU and RG-LRU: linear recurrences with one decay a channel, without and with gates.

The one idea: keep the recurrence linear and diagonal, so that it can be scanned, and put all that is not linear outside
it; scale the input by ``sqrt(1 - a^2)`` so that the state keeps its size whatever the decay. Papers: Orvieto et al.
2023 (arXiv:2303.06349), section 3 (LRU); De et al. 2024 (arXiv:2402.19427), eqs. 1 to 4 (RG-LRU, of Griffin and Hawk).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.ssm.linear_scan import linear_scan

SMALLEST = 2.5e-7  # of 1 - a^2: below it the root's slope exceeds 1000


class RGLRUState(NamedTuple):
    """What one layer carries over."""

    h: Tensor  # (B, width)
    started: bool  # a token has been read


class RGLRU(nn.Module):
    """Real-gated linear recurrent unit, (B, T, width) to (B, T, width).

    ``r = sigmoid(W_a x)``, ``i = sigmoid(W_x x)``, ``log a = -8 softplus(Lambda) r``,
    ``h_t = a_t h_{t-1} + sqrt(1 - a_t^2) (i_t x_t)``.

    Args:
        width: channels. blocks: the gates' matrices are block-diagonal with so many blocks; divides ``width``.
        first_unscaled: the first token enters without the factor ``sqrt(1 - a^2)``, as in the authors' code and
            RecurrentGemma; False as the paper's eq. 4 has it.
    """

    def __init__(self, width: int, blocks: int = 1, first_unscaled: bool = True) -> None:
        super().__init__()
        if width % blocks:
            raise ValueError(f"blocks={blocks}: must divide width={width}; use a divisor, for example 1")
        self.width, self.blocks, self.first_unscaled = width, blocks, first_unscaled
        size = width // blocks
        self.Lambda = nn.Parameter(torch.empty(width))
        self.input_weight, self.decay_weight = (
            nn.Parameter(torch.randn(blocks, size, size) * size**-0.5) for _ in range(2)
        )
        self.input_bias, self.decay_bias = (nn.Parameter(torch.zeros(blocks, size)) for _ in range(2))
        with torch.no_grad():  # a^8 uniform in [0.9, 0.999] (section 2.4): softplus(Lambda) = -log(a)
            a = torch.empty(width).uniform_(0.9, 0.999) ** (1 / 8)
            self.Lambda.copy_(torch.expm1(-a.log()).log())

    def init_state(self, batch_size: int) -> RGLRUState:
        """The zero state for ``batch_size`` rows."""
        return RGLRUState(self.Lambda.new_zeros(batch_size, self.width), started=False)

    def forward(self, x: Tensor, state: RGLRUState | None = None) -> tuple[Tensor, RGLRUState | None]:
        """Run ``x`` (B, T, width) through the recurrence; without a state it starts from zero and returns none."""
        log_a = -8 * F.softplus(self.Lambda) * torch.sigmoid(self._gate(x, self.decay_weight, self.decay_bias))
        entering = x * torch.sigmoid(self._gate(x, self.input_weight, self.input_bias))
        scale = (-torch.expm1(2 * log_a)).clamp(min=SMALLEST).sqrt()
        if self.first_unscaled and (state is None or not state.started):
            scale = torch.cat((torch.ones_like(scale[:, :1]), scale[:, 1:]), dim=1)
        h = linear_scan(log_a.exp(), scale * entering, None if state is None else state.h)
        return h, None if state is None else RGLRUState(h[:, -1], started=True)

    def _gate(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """A block-diagonal linear map."""
        mixed = torch.einsum("btni,nij->btnj", x.unflatten(-1, (self.blocks, -1)), weight)
        return (mixed + bias).flatten(-2)


class LRU(nn.Module):
    """Linear recurrent unit, (B, T, d_model) to (B, T, d_model): ``h = lambda h + gamma B u``, ``y = Re(C h) + D u``.

    Args:
        d_model: width in and out. d_state: complex states. r_min, r_max: |lambda| starts in this ring (section 3.2.2).
    """

    def __init__(self, d_model: int, d_state: int, r_min: float = 0.9, r_max: float = 0.999) -> None:
        super().__init__()
        radius = (torch.rand(d_state) * (r_max**2 - r_min**2) + r_min**2).sqrt()
        self.nu_log = nn.Parameter((-radius.log()).log())
        self.theta_log = nn.Parameter((2 * math.pi * torch.rand(d_state)).log())
        self.B = nn.Parameter(torch.randn(d_state, d_model, 2) * (2 * d_model) ** -0.5)
        self.C = nn.Parameter(torch.randn(d_model, d_state, 2) * d_state**-0.5)
        self.D = nn.Parameter(torch.randn(d_model))
        self.gamma_log = nn.Parameter((1 - radius**2).sqrt().log())

    def init_state(self, batch_size: int) -> Tensor:
        """Zeros (B, N), complex."""
        return torch.view_as_complex(self.B).new_zeros(batch_size, len(self.nu_log))

    def forward(self, u: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Run ``u`` (B, T, d_model) through the recurrence; without a state it starts from zero and returns none."""
        decay = torch.polar((-self.nu_log.exp()).exp(), self.theta_log.exp())
        b, c = torch.view_as_complex(self.B), torch.view_as_complex(self.C)
        written = self.gamma_log.exp() * (u.to(b.dtype) @ b.mT)
        h = linear_scan(decay.expand_as(written), written, state)
        return (h @ c.mT).real + self.D * u, None if state is None else h[:, -1]
