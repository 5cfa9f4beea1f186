"""S4D: a state space with a diagonal matrix, whose impulse response is a sum of exponentials.

The one idea: the diagonal part of HiPPO is enough; then the kernel is one Vandermonde product and the recurrence one
multiplication a state. Paper: Gu, Gupta, Goel and Re 2022 (arXiv:2206.11893), eqs. 7 to 9.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from nexus.layers.ssm.hippo import dplr_legs
from nexus.layers.ssm.linear_scan import linear_scan
from nexus.layers.ssm.long_conv import TimeInvariantLayer

Start = Literal["lin", "inv", "legs"]


class DiagonalSSM(nn.Module):
    """The system alone: one for each of ``channels`` inputs.

    Args:
        channels: systems side by side. learn_b: the input vector is learnt too; it starts at 1. The others: as for
            :class:`S4D`.
    """

    def __init__(
        self,
        channels: int,
        d_state: int = 64,
        init: Start = "lin",
        discretization: Literal["zoh", "bilinear"] = "zoh",
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
        learn_b: bool = False,
    ) -> None:
        super().__init__()
        if discretization not in ("zoh", "bilinear"):
            raise ValueError(f"discretization={discretization!r}: is not a choice; give 'zoh' or 'bilinear'")
        self.discretization = discretization
        start = eigenvalues(init, d_state)
        self.log_dt = nn.Parameter(torch.empty(channels).uniform_(math.log(dt_min), math.log(dt_max)))
        self.log_A_real = nn.Parameter((-start.real).log().float().repeat(channels, 1))  # (D, N / 2)
        self.A_imag = nn.Parameter(start.imag.float().repeat(channels, 1))
        self.C = nn.Parameter(torch.randn(channels, d_state // 2, 2) * 0.5**0.5)  # real and imaginary part
        one = torch.tensor([1.0, 0.0]).repeat(channels, d_state // 2, 1)
        self.B = nn.Parameter(one) if learn_b else None

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """Discrete A, B and C, each (D, N / 2), complex."""
        dt, c = self.log_dt.exp().unsqueeze(-1), torch.view_as_complex(self.C)
        a = torch.complex(-self.log_A_real.exp(), self.A_imag)
        if self.discretization == "zoh":
            decay = (dt * a).exp()
            enter = (decay - 1) / a
        else:
            decay = (1 + dt * a / 2) / (1 - dt * a / 2)
            enter = dt / (1 - dt * a / 2)
        return decay, enter if self.B is None else enter * torch.view_as_complex(self.B), c

    def kernel(self, length: int) -> Tensor:
        """``K_l = 2 Re sum_n C_n A_n^l B_n`` (eq. 9): a Vandermonde product (D, length)."""
        a, b, c = self.system()
        powers = (a.log().unsqueeze(-1) * torch.arange(length, device=a.device)).exp()
        return 2 * ((b * c).unsqueeze(1) @ powers).squeeze(1).real

    def init_state(self, batch_size: int) -> Tensor:
        """Zeros (B, D, N / 2), complex."""
        return torch.view_as_complex(self.C).new_zeros(batch_size, *self.log_A_real.shape)

    def scan(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``x_t = A x_{t-1} + B u_t``, ``y_t = 2 Re C x_t`` over ``u`` (B, T, D), element by element."""
        a, b, c = self.system()
        written = b * u.unsqueeze(-1)
        states = linear_scan(a.expand_as(written), written, state)
        return 2 * (c * states).sum(-1).real, states[:, -1]


class S4D(TimeInvariantLayer):
    """Diagonal state space, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width; each channel has a system of its own. d_state: states of a channel, even: conjugate pairs.
        init: eigenvalues at the start: S4D-Lin, S4D-Inv (paper, section 4.3), or HiPPO-LegS's own.
        discretization: "zoh" (eq. 4 of the paper, and the reference's small file) or "bilinear" (as in S4).
        dt_min, dt_max: step sizes start log-uniform in between.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 64,
        init: Start = "lin",
        discretization: Literal["zoh", "bilinear"] = "zoh",
        dt_min: float = 1e-3,
        dt_max: float = 1e-1,
    ) -> None:
        super().__init__(d_model)
        self.ssm = DiagonalSSM(d_model, d_state, init, discretization, dt_min, dt_max)

    def kernel(self, length: int) -> Tensor:
        """The first ``length`` values of the impulse response (d_model, length)."""
        return self.ssm.kernel(length)

    def init_state(self, batch_size: int) -> Tensor:
        """Zeros (B, D, N / 2), complex."""
        return self.ssm.init_state(batch_size)

    def scan(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The recurrence over ``u`` (B, T, d_model)."""
        return self.ssm.scan(u, state)


def eigenvalues(init: Start, n: int) -> Tensor:
    """One of each conjugate pair of A's eigenvalues (n / 2,), those with positive imaginary part.

    Raises:
        ValueError: ``init`` is unknown or ``n`` is odd.
    """
    if n % 2:
        raise ValueError(f"d_state={n}: is odd; give an even number, eigenvalues come in conjugate pairs")
    index = torch.arange(n // 2, dtype=torch.float64)
    if init == "lin":
        return torch.complex(torch.full_like(index, -0.5), math.pi * index)
    if init == "inv":
        return torch.complex(torch.full_like(index, -0.5), n / math.pi * (n / (2 * index + 1) - 1))
    if init == "legs":
        return dplr_legs(n).eigenvalues.conj().resolve_conj()
    raise ValueError(f"init={init!r}: is not a choice; give 'lin', 'inv' or 'legs'")
