"""Mamba-2 mixer: a selective state-space layer.

The one idea: how much to keep (dt), what to write (B, x) and what to read (C) all depend on the token, and the scan is
the chunked matrix form of :mod:`nexus.layers.ssm.ssd`. Paper: Dao and Gu 2024 (arXiv:2405.21060), section 7. Layout of
the weights as in dense GraniteMoeHybrid, so that they go both ways without change.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.components.project import project
from nexus.layers.components.rms_norm import GatedRMSNorm
from nexus.layers.ssm.causal_conv import causal_conv_silu
from nexus.layers.ssm.ssd import ssd_chunked, ssd_recurrent, ssd_step


class Mamba2State(NamedTuple):
    """What one mixer carries over: constant in the length of the text."""

    ssm: Tensor  # (B, H, N, P)
    conv: Tensor  # (B, d_conv - 1, channels), the last inputs of the convolution


class Mamba2(nn.Module):
    """Mamba-2 mixer, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width in and out.
        n_heads: state-space heads H. head_dim: channels P of a head.
        d_state: state size N. n_groups: groups G that share B and C; divides ``n_heads``.
        d_conv: length of the causal depthwise convolution. chunk_size: chunk of the matrix form.
        proj_bias: bias on the two projections. eps: of the gated norm. dt_min: smallest step size (Zamba2: 0.001).
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        head_dim: int,
        d_state: int,
        n_groups: int = 1,
        d_conv: int = 4,
        chunk_size: int = 64,
        proj_bias: bool = False,
        eps: float = 1e-6,
        dt_min: float = 0.0,
    ) -> None:
        super().__init__()
        if n_heads % n_groups:
            raise ValueError(f"n_groups={n_groups}: must divide n_heads={n_heads}; use a divisor, for example 1")
        self.n_heads, self.head_dim, self.d_state, self.n_groups = n_heads, head_dim, d_state, n_groups
        self.d_conv, self.chunk_size, self.dt_min = d_conv, chunk_size, dt_min
        self.use_parallel_scan = True  # False: step after step, the slow truth
        self.d_inner = n_heads * head_dim
        self.conv_dim = self.d_inner + 2 * n_groups * d_state  # x | B | C
        self.in_proj = nn.Linear(d_model, self.d_inner + self.conv_dim + n_heads, bias=proj_bias)  # z | x | B | C | dt
        self.conv_weight = nn.Parameter(torch.empty(self.conv_dim, d_conv))
        self.conv_bias = nn.Parameter(torch.zeros(self.conv_dim))
        self.A_log = nn.Parameter(torch.empty(n_heads))
        self.D = nn.Parameter(torch.ones(n_heads))
        self.dt_bias = nn.Parameter(torch.empty(n_heads))
        self.norm = GatedRMSNorm(self.d_inner, n_groups, eps)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=proj_bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Mamba-2's own start: A in [1, 16], step sizes log-uniform in [0.001, 0.1]."""
        nn.init.uniform_(self.conv_weight, -(self.d_conv**-0.5), self.d_conv**-0.5)
        nn.init.zeros_(self.conv_bias)
        with torch.no_grad():
            self.A_log.copy_(torch.empty_like(self.A_log).uniform_(1, 16).log())
            low, high = math.log(1e-3), math.log(1e-1)
            dt = torch.empty_like(self.dt_bias).uniform_(low, high).exp()
            self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus

    def init_state(self, batch_size: int) -> Mamba2State:
        """The zero state for ``batch_size`` rows."""
        like = self.conv_weight
        return Mamba2State(
            ssm=like.new_zeros(batch_size, self.n_heads, self.d_state, self.head_dim),
            conv=like.new_zeros(batch_size, self.d_conv - 1, self.conv_dim),
        )

    def forward(
        self, u: Tensor, state: Mamba2State | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Mamba2State | None]:
        """Mix ``u`` (B, T, d_model) over time.

        Args:
            state: where an earlier call ended; None starts from zero and returns no state.
            mask: (B, T) True at real tokens; padding must come before them (left padding).

        Returns:
            Output (B, T, d_model) and the state after the last token.
        """
        # Sums over time want the weights' precision, not autocast's.
        projected = project(self.in_proj, u).to(self.A_log.dtype)
        z, xbc, dt = projected.split([self.d_inner, self.conv_dim, self.n_heads], dim=-1)
        if mask is not None:
            xbc = xbc * mask.unsqueeze(-1)
        xbc, conv_state = self._convolve(xbc, None if state is None else state.conv, mask)
        x, b, c = xbc.split([self.d_inner, self.n_groups * self.d_state, self.n_groups * self.d_state], dim=-1)
        dt = F.softplus(dt + self.dt_bias)  # (B, T, H)
        if self.dt_min:
            dt = dt.clamp(min=self.dt_min)
        if mask is not None:
            dt = dt * mask.unsqueeze(-1)  # a step of size 0 neither writes nor forgets
        y, ssm_state = self._scan(x, b, c, dt, None if state is None else state.ssm)
        out = project(self.out_proj, self.norm(y, z))
        return out, None if state is None else Mamba2State(ssm_state, conv_state)

    def _convolve(self, xbc: Tensor, before: Tensor | None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Causal depthwise convolution and SiLU over the new inputs and those kept from before."""
        length = xbc.shape[1]
        padded = F.pad(xbc, (0, 0, self.d_conv - 1, 0)) if before is None else torch.cat((before, xbc), dim=1)
        if before is not None and mask is not None:
            padded = _close_gap(padded, (~mask).sum(1), self.d_conv - 1)
        if length == 1:
            mixed = F.silu((padded * self.conv_weight.t()).sum(1, keepdim=True) + self.conv_bias)
        else:
            mixed = causal_conv_silu(padded, self.conv_weight, self.conv_bias)
        after = padded[:, length:]
        return mixed, after.clone() if length > self.d_conv else after  # a view would keep the whole input alive

    def _scan(self, x: Tensor, b: Tensor, c: Tensor, dt: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Selective scan of ``x`` (B, T, d_inner) with the skip ``D x``; returns y (B, T, d_inner) and the state."""
        log_decay = -self.A_log.exp() * dt
        if x.shape[1] == 1 and state is not None:
            return self._step(x, b, c, dt, log_decay, state)
        x = x.unflatten(-1, (self.n_heads, self.head_dim))
        b, c = (t.unflatten(-1, (self.n_groups, self.d_state)) for t in (b, c))
        if not self.use_parallel_scan:
            y, state = ssd_recurrent(x * dt.unsqueeze(-1), log_decay, b, c, state)
            return torch.addcmul(y, x, self.D.unsqueeze(-1)).flatten(-2), state
        y, state = ssd_chunked(x, log_decay, b, c, self.chunk_size, state, dt, self.D)
        return y.flatten(-2), state

    def _step(
        self, x: Tensor, b: Tensor, c: Tensor, dt: Tensor, log_decay: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One token of :meth:`_scan`: T = 1 drops out of all shapes."""
        rows = len(x)
        x, dt, log_decay = x.view(rows, self.n_heads, -1), dt.view(rows, -1, 1), log_decay.view(rows, -1)
        b, c = (t.view(rows, self.n_groups, -1) for t in (b, c))
        y, state = ssd_step(x * dt, log_decay, b, c, state)
        return torch.addcmul(y, x, self.D.unsqueeze(-1)).view(rows, 1, -1), state


def _close_gap(padded: Tensor, gap: Tensor, width: int) -> Tensor:
    """Move the first ``width`` columns of each row (B, T, C) right, over the padding: next to what goes on from them.

    Args:
        gap: (B,) columns of padding after those ``width``.
    """
    columns = torch.arange(padded.shape[1], device=padded.device)
    source = torch.where(columns < gap.unsqueeze(1) + width, columns - gap.unsqueeze(1), columns).clamp(min=0)
    return padded.gather(1, source.unsqueeze(-1).expand_as(padded))
