"""Convolution as long as the input, and the layer around a time-invariant state space.

The one idea: a linear system that doesn't change over time is a convolution with its impulse response, so it trains in
T log T by FFT, while its state makes it a recurrence for decode. Paper: Gu, Goel and Re 2021 (arXiv:2111.00396),
section 2.4; the layer around it, section 3.4.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def fft_conv(x: Tensor, kernel: Tensor) -> Tensor:
    """Causal convolution ``y_t = sum_j kernel_j x_{t-j}`` in O(T log T).

    Args:
        x: (B, T, D). kernel: (D, L), L at least 1; what lies beyond T is not used.
    """
    length = x.shape[1]
    size = 2 * length  # padded, so that the end doesn't wrap round to the start
    spectrum = torch.fft.rfft(x, n=size, dim=1) * torch.fft.rfft(kernel[:, :length], n=size).mT
    return torch.fft.irfft(spectrum, n=size, dim=1)[:, :length]


def direct_conv(x: Tensor, kernel: Tensor) -> Tensor:
    """The same from the definition, in O(T^2): the truth."""
    length = x.shape[1]
    kernel = F.pad(kernel[:, :length], (0, max(0, length - kernel.shape[1])))
    lag = torch.arange(length)[:, None] - torch.arange(length)
    matrix = kernel[:, lag.clamp(min=0)].tril()  # (D, T, T)
    return torch.einsum("dts,bsd->btd", matrix, x)


class TimeInvariantLayer(nn.Module):
    """``GLU(W gelu(conv(u) + D u))``, (B, T, d_model) to (B, T, d_model), around a system that a subclass gives.

    A subclass has ``kernel(length)`` (d_model, length), its impulse response; ``init_state(batch_size)``; and
    ``scan(u, state)``, the recurrence, returning outputs (B, T, d_model) and the state afterwards.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.D = nn.Parameter(torch.randn(d_model))
        self.out_proj = nn.Linear(d_model, 2 * d_model)

    def kernel(self, length: int) -> Tensor:
        """The first ``length`` values of the impulse response (d_model, length)."""
        raise NotImplementedError

    def init_state(self, batch_size: int) -> Tensor:
        """The zero state."""
        raise NotImplementedError

    def scan(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The recurrence over ``u`` (B, T, d_model)."""
        raise NotImplementedError

    def forward(self, u: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Convolution where there is no state to go on from, else recurrence; equal numbers.

        Args:
            u: (B, T, d_model). state: where an earlier call ended; None starts from zero and returns no state.
        """
        if state is None:
            y = fft_conv(u, self.kernel(u.shape[1]))
        else:
            y, state = self.scan(u, state)
        return F.glu(self.out_proj(F.gelu(y + self.D * u)), dim=-1), state
