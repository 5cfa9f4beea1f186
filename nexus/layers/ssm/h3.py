"""H3: two state spaces and two products, which together can recall.

The one idea: a shift (remember the last few tokens) makes keys that know what came before them, a product with the
values marks what to store, a diagonal state space keeps it, and a product with the queries reads it. Paper: Fu et al.
2022 (arXiv:2212.14052), section 3.1 and algorithm 1.

    y = Q * S4D(Shift(K) * V)
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.ssm.long_conv import fft_conv
from nexus.layers.ssm.s4d import DiagonalSSM


class H3State(NamedTuple):
    """What one layer carries over: constant in the length of the text."""

    keys: Tensor  # (B, d_shift - 1, d_model), the last keys
    ssm: Tensor  # (B, channels, N / 2), complex


class H3(nn.Module):
    """Hungry Hungry Hippos layer, (B, T, d_model) to (B, T, d_model).

    Args:
        d_model: width in and out. d_state: states of a diagonal system, and tokens that the shift remembers.
        head_dim: channels of a head, whose keys and values meet in an outer product; divides ``d_model``.
        learn_inputs: both systems' input vectors are learnt (authors' code); False keeps them at (1, 0, ..., 0) and
            at 1 (paper).
    """

    shift_B: Tensor

    def __init__(self, d_model: int, d_state: int = 64, head_dim: int = 1, learn_inputs: bool = False) -> None:
        super().__init__()
        if d_model % head_dim:
            raise ValueError(f"head_dim={head_dim}: must divide d_model={d_model}; use a divisor, for example 1")
        self.d_model, self.d_state, self.head_dim = d_model, d_state, head_dim
        self.n_heads = d_model // head_dim
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(d_model, d_model) for _ in range(4))
        self.shift_C = nn.Parameter(torch.empty(d_model, d_state).uniform_(-(d_state**-0.5), d_state**-0.5))
        start = F.one_hot(torch.zeros(d_model, dtype=torch.long), d_state).float()
        if learn_inputs:
            self.shift_B = nn.Parameter(start)
        else:
            self.register_buffer("shift_B", start, persistent=False)
        self.shift_D = nn.Parameter(torch.randn(d_model))
        self.ssm = DiagonalSSM(self.n_heads, d_state, learn_b=learn_inputs)
        self.D = nn.Parameter(torch.randn(self.n_heads))

    def shift_kernel(self) -> Tensor:
        """Impulse response of the shift (d_model, d_state): ``K_l = sum_n B_n C_{n+l}``."""
        size = 2 * self.d_state
        spectrum = torch.fft.rfft(self.shift_B, n=size).conj() * torch.fft.rfft(self.shift_C, n=size)
        return torch.fft.irfft(spectrum, n=size)[:, : self.d_state]

    def init_state(self, batch_size: int) -> H3State:
        """The zero state for ``batch_size`` rows."""
        keys = self.shift_C.new_zeros(batch_size, self.d_state - 1, self.d_model)
        return H3State(keys, self.ssm.init_state(batch_size * self.head_dim**2))

    def forward(self, u: Tensor, state: H3State | None = None) -> tuple[Tensor, H3State | None]:
        """Convolutions where there is no state to go on from, else recurrence; equal numbers."""
        q, k, v = self.q_proj(u), self.k_proj(u), self.v_proj(u)
        before = k.new_zeros(0) if state is None else state.keys
        keys = k if state is None else torch.cat((before, k), dim=1)
        shifted = fft_conv(keys, self.shift_kernel())[:, -u.shape[1] :] + self.shift_D * k
        stored = self._outer(shifted, v)
        if state is None:
            kept = fft_conv(stored, self.ssm.kernel(u.shape[1]))
        else:
            kept, ssm = self.ssm.scan(stored, state.ssm)
            state = H3State(keys[:, u.shape[1] :], ssm)
        return self.out_proj(self._read(q, kept + self.D * stored)), state

    def _outer(self, k: Tensor, v: Tensor) -> Tensor:
        """Keys times values of each head, as rows of their own: (B d d, T, H)."""
        k, v = (t.unflatten(-1, (self.n_heads, self.head_dim)) for t in (k, v))
        return torch.einsum("bthi,bthj->bijth", k, v).flatten(0, 2)

    def _read(self, q: Tensor, kept: Tensor) -> Tensor:
        """Queries times what was kept, summed over the keys' channels: (B, T, d_model), heads last."""
        kept = kept.unflatten(0, (-1, self.head_dim, self.head_dim))
        return torch.einsum("bthi,bijth->btjh", q.unflatten(-1, (self.n_heads, self.head_dim)), kept).flatten(-2)
