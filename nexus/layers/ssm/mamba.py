"""Mamba (S6): a state-space layer whose step size, input and output matrices depend on the token.

The one idea: a time-invariant system cannot choose what to remember; let dt, B and C be functions of the input and it
can, at the price of the convolution form, which a scan replaces. Paper: Gu and Dao 2023 (arXiv:2312.00752), algorithm 2
and section 3.4. Layout of the weights as in Hugging Face's Mamba and Jamba.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.components.rms_norm import RMSNorm
from nexus.layers.ssm.causal_conv import causal_conv_silu
from nexus.layers.ssm.selective_scan import selective_scan, selective_step


class MambaState(NamedTuple):
    """What one layer carries over: constant in the length of the text."""

    ssm: Tensor  # (B, N, d_inner)
    conv: Tensor  # (B, d_conv - 1, d_inner), the last inputs of the convolution


class Mamba(nn.Module):
    """Mamba mixer, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width in and out. d_state: states N of a channel. d_conv: length of the causal convolution.
        expand: inner width in d_models. dt_rank: width that dt is made from; None is d_model / 16, rounded up.
        inner_norms: RMSNorm on dt, B and C before use (Jamba, arXiv:2403.19887, section 6.4).
        eps: of these norms.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        inner_norms: bool = False,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.d_inner, self.d_state, self.d_conv = expand * d_model, d_state, d_conv
        self.dt_rank = dt_rank or math.ceil(d_model / 16)
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=False)  # x | z
        self.conv_weight = nn.Parameter(torch.empty(self.d_inner, d_conv))
        self.conv_bias = nn.Parameter(torch.zeros(self.d_inner))
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)  # dt | B | C
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.empty(self.d_inner, d_state))
        self.D = nn.Parameter(torch.ones(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)
        widths = (self.dt_rank, d_state, d_state) if inner_norms else ()
        self.norms = nn.ModuleList(RMSNorm(width, eps) for width in widths)  # of dt, B, C
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The paper's start: A = -1 ... -N (S4D-Real), step sizes log-uniform in [0.001, 0.1] (section 3.6)."""
        nn.init.uniform_(self.conv_weight, -(self.d_conv**-0.5), self.d_conv**-0.5)
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        with torch.no_grad():
            self.A_log.copy_(torch.arange(1.0, self.d_state + 1).log().expand_as(self.A_log))
            dt = torch.empty_like(self.dt_proj.bias).uniform_(math.log(1e-3), math.log(1e-1)).exp()
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus

    def init_state(self, batch_size: int) -> MambaState:
        """The zero state for ``batch_size`` rows."""
        like = self.conv_weight
        return MambaState(
            ssm=like.new_zeros(batch_size, self.d_state, self.d_inner),
            conv=like.new_zeros(batch_size, self.d_conv - 1, self.d_inner),
        )

    def forward(self, u: Tensor, state: MambaState | None = None) -> tuple[Tensor, MambaState | None]:
        """Mix ``u`` (B, T, d_model) over time.

        Args:
            state: where an earlier call ended; None starts from zero and returns no state.
        """
        x, z = self.in_proj(u).chunk(2, dim=-1)
        before = self.init_state(u.shape[0]) if state is None else state
        padded = torch.cat((before.conv, x), dim=1)
        x = causal_conv_silu(padded, self.conv_weight, self.conv_bias)
        y, ssm = self._scan(x, before.ssm)
        out = self.out_proj((y + self.D * x) * F.silu(z))
        return out, None if state is None else MambaState(ssm, padded[:, u.shape[1] :].clone())

    def _scan(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        dt, b, c = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        if self.norms:
            dt, b, c = (norm(t) for norm, t in zip(self.norms, (dt, b, c), strict=True))
        dt, a = F.softplus(self.dt_proj(dt)), -self.A_log.exp()
        if x.shape[1] > 1:
            return selective_scan(x, dt, a, b, c, state)
        y, state = selective_step(x[:, 0], dt[:, 0], a, b[:, 0], c[:, 0], state)
        return y.unsqueeze(1), state
