"""S5: one state space for all channels together, run by a parallel scan.

The one idea: instead of a small system for each channel, one system with many inputs and outputs (MIMO); its state is
small enough to be kept, so no convolution is needed, and time may be irregular. Paper: Smith, Warrington and Linderman
2022 (arXiv:2208.04933), eqs. 5 and 6, section 3.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from nexus.layers.ssm.hippo import dplr_legs
from nexus.layers.ssm.linear_scan import linear_scan


class S5(nn.Module):
    """``y = Re(C x) + D u`` with ``x' = Lambda x + B u``, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width in and out. d_state: states P, of which ``conj_sym`` keeps half. blocks: HiPPO blocks that the
            state starts from; divides ``d_state``.
        conj_sym: keep one of each pair of conjugates and double (authors' code); False keeps all (s5-pytorch).
        discretization: zero-order hold (eq. 6) or bilinear.
        dt_min, dt_max: step sizes, one a state, start log-uniform in between.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int,
        blocks: int = 1,
        conj_sym: bool = True,
        discretization: Literal["zoh", "bilinear"] = "zoh",
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
    ) -> None:
        super().__init__()
        if d_state % (2 * blocks):
            raise ValueError(f"d_state={d_state}: must be a multiple of 2 blocks = {2 * blocks}")
        if discretization not in ("zoh", "bilinear"):
            raise ValueError(f"discretization={discretization!r}: is not a choice; give 'zoh' or 'bilinear'")
        self.conj_sym, self.discretization = conj_sym, discretization
        start = dplr_legs(d_state // blocks)
        eigenvalues, v = start.eigenvalues, start.v
        if not conj_sym:
            eigenvalues, v = torch.cat((eigenvalues, eigenvalues.conj())), torch.cat((v, v.conj()), dim=1)
        v = torch.block_diag(*[v] * blocks).to(torch.complex64)  # (P, kept)
        self.Lambda = nn.Parameter(torch.view_as_real(eigenvalues.repeat(blocks)).float())
        self.B = nn.Parameter(torch.view_as_real(v.conj().mT @ (torch.randn(d_state, d_model) / d_model**0.5).to(v)))
        self.C = nn.Parameter(torch.view_as_real((torch.randn(d_model, d_state) / d_state**0.5).to(v) @ v))
        self.D = nn.Parameter(torch.rand(d_model))
        self.log_step = nn.Parameter(torch.empty(len(self.Lambda)).uniform_(math.log(dt_min), math.log(dt_max)))

    def system(self, rate: float = 1.0) -> tuple[Tensor, Tensor]:
        """Discrete Lambda (P,) and B (P, d_model), complex.

        Args:
            rate: of the steps: 2 for an input sampled half as often as in training (paper, section 3.4).
        """
        dt, a, b = rate * self.log_step.exp(), torch.view_as_complex(self.Lambda), torch.view_as_complex(self.B)
        if self.discretization == "zoh":
            decay = (dt * a).exp()
            return decay, ((decay - 1) / a).unsqueeze(-1) * b
        return (1 + dt * a / 2) / (1 - dt * a / 2), (dt / (1 - dt * a / 2)).unsqueeze(-1) * b

    def init_state(self, batch_size: int) -> Tensor:
        """Zeros (B, P), complex."""
        return torch.view_as_complex(self.Lambda).new_zeros(batch_size, len(self.Lambda))

    def forward(self, u: Tensor, state: Tensor | None = None, rate: float = 1.0) -> tuple[Tensor, Tensor | None]:
        """Mix ``u`` (B, T, d_model) over time and channels.

        Args:
            state: where an earlier call ended; None starts from zero and returns no state.
        """
        a, b = self.system(rate)
        written = u.to(b.dtype) @ b.mT
        states = linear_scan(a.expand_as(written), written, state)
        y = (states @ torch.view_as_complex(self.C).mT).real
        return (2 * y if self.conj_sym else y) + self.D * u, None if state is None else states[:, -1]
