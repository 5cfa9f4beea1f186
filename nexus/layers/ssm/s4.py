"""S4: HiPPO made fast. A state space whose matrix is diagonal minus rank one (DPLR).

The one idea: the impulse response needs powers of A, but its generating function needs only the inverse of ``z - A``,
which for a diagonal is a Cauchy product and for a rank-one change one correction (Woodbury); an inverse FFT then gives
the kernel. Paper: Gu, Goel and Re 2021 (arXiv:2111.00396), algorithm 1 and appendix C.
"""

import math

import torch
from torch import Tensor, nn

from nexus.layers.ssm.hippo import dplr_legs
from nexus.layers.ssm.long_conv import TimeInvariantLayer


class S4(TimeInvariantLayer):
    """Structured state space, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width; each channel has a system of its own. d_state: states of a channel, even.
        stored_length: 0: the parameter C is the output matrix; L: it is ``C (I - A^L)``, which saves the power of A at
            that length (the paper's remark in C.3 and the reference code).
        dt_min, dt_max: step sizes start log-uniform in between.
    """

    def __init__(
        self, d_model: int, d_state: int = 64, stored_length: int = 0, dt_min: float = 1e-3, dt_max: float = 1e-1
    ) -> None:
        super().__init__(d_model)
        self.stored_length = stored_length
        start = dplr_legs(d_state)
        self.log_dt = nn.Parameter(torch.empty(d_model).uniform_(math.log(dt_min), math.log(dt_max)))
        self.log_A_real = nn.Parameter((-start.eigenvalues.real).log().float().repeat(d_model, 1))  # (D, N / 2)
        self.A_imag = nn.Parameter(-start.eigenvalues.imag.float().repeat(d_model, 1))
        self.B = nn.Parameter(torch.view_as_real(start.b).float().repeat(d_model, 1, 1))  # (D, N / 2, 2)
        self.P = nn.Parameter(torch.view_as_real(start.p).float().repeat(d_model, 1, 1))
        self.C = nn.Parameter(torch.randn(d_model, d_state // 2, 2) * 0.5**0.5)
        if stored_length:
            self._store()

    @torch.no_grad()
    def _store(self) -> None:
        """Turn the output matrix into what is stored for `stored_length`."""
        a, *_ = self._dense()
        kept = self._pairs(self.C) - self._row_times_power(self._pairs(self.C), a, self.stored_length)
        self.C.copy_(torch.view_as_real(kept[:, : self.C.shape[1]]))

    @staticmethod
    def _pairs(half: Tensor) -> Tensor:
        """Both of each pair of conjugates, complex (D, N), from real and imaginary parts (D, N / 2, 2)."""
        one = torch.view_as_complex(half)
        return torch.cat((one, one.conj()), dim=-1)

    def _continuous(self) -> tuple[Tensor, ...]:
        """Step size (D, 1), eigenvalues, P, B and C (D, N)."""
        diagonal = torch.stack((-self.log_A_real.exp(), -self.A_imag), dim=-1)
        return self.log_dt.exp().unsqueeze(-1), *(self._pairs(t) for t in (diagonal, self.P, self.B, self.C))

    def _dense(self) -> tuple[Tensor, Tensor, Tensor]:
        """Bilinear discretisation (eq. 3) with A as a matrix: A (D, N, N), B and the stored C (D, N)."""
        dt, diagonal, p, b, c = self._continuous()
        a = torch.diag_embed(diagonal) - p.unsqueeze(-1) * p.conj().unsqueeze(-2)
        half, eye = dt.unsqueeze(-1) / 2 * a, torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
        right = torch.cat((eye + half, (dt * b).unsqueeze(-1)), dim=-1)
        solved = torch.linalg.solve(eye - half, right)
        return solved[..., :-1], solved[..., -1], c

    @staticmethod
    def _row_times_power(row: Tensor, a: Tensor, exponent: int) -> Tensor:
        """``row A^exponent`` by repeated squaring; row (D, N)."""
        row = row.unsqueeze(-2)
        while exponent:
            if exponent & 1:
                row = row @ a
            exponent >>= 1
            a = a @ a if exponent else a
        return row.squeeze(-2)

    def system(self) -> tuple[Tensor, Tensor, Tensor]:
        """Discrete A (D, N, N), B and the true C (D, N)."""
        a, b, c = self._dense()
        if self.stored_length:  # C (I - A^L) = stored
            eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
            c = torch.linalg.solve((eye - torch.linalg.matrix_power(a, self.stored_length)).mT, c)
        return a, b, c

    def kernel(self, length: int) -> Tensor:
        """``K_l = C A^l B`` for l < length, by way of its generating function at the roots of unity."""
        size = self.stored_length or length
        if length > size:
            a, _, c = self.system()  # longer than what C is stored for: as if it were not stored
            return self._kernel(c - self._row_times_power(c, a, length), length)
        c = self._continuous()[-1]
        if not self.stored_length:
            c = c - self._row_times_power(c, self._dense()[0], length)
        return self._kernel(c, size)[:, :length]

    def _kernel(self, c: Tensor, length: int) -> Tensor:
        """The kernel from ``c = C (I - A^length)``: Cauchy products, Woodbury, inverse FFT (algorithm 1)."""
        dt, diagonal, p, b, _ = self._continuous()
        angle = -2 * math.pi / length * torch.arange(length // 2 + 1, device=c.device, dtype=self.log_dt.dtype)
        omega = torch.polar(torch.ones_like(angle), angle)
        # Where omega = -1 both 2 / (1 + omega) and z are infinite: multiplied through by (1 + omega) they are not.
        cauchy = 1 / (2 * (1 - omega) - (1 + omega) * (dt * diagonal).unsqueeze(-1))  # (D, N, F)

        def product(left: Tensor, right: Tensor) -> Tensor:
            return dt * ((left * right).unsqueeze(1) @ cauchy).squeeze(1)

        # r = (1 + omega) product(.): three of its factors cancel against 2 / (1 + omega), one stays in each correction.
        r = product(p.conj(), b) * product(c, p) * (1 + omega) / (1 + (1 + omega) * product(p.conj(), p))
        return torch.fft.irfft(2 * (product(c, b) - r), n=length)

    def init_state(self, batch_size: int) -> Tensor:
        """Zeros (B, D, N), complex."""
        return torch.view_as_complex(self.B).new_zeros(batch_size, self.B.shape[0], 2 * self.B.shape[1])

    def scan(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """``x_t = A x_{t-1} + B u_t``, ``y_t = C x_t``, with A as a matrix."""
        a, b, c = self.system()
        outputs = []
        for value in u.unbind(1):
            state = torch.einsum("dnm,bdm->bdn", a, state) + b * value.unsqueeze(-1)
            outputs.append((c * state).sum(-1).real)
        return torch.stack(outputs, dim=1), state
