"""ALiBi: attention with linear biases.

The one idea: no encoding at all; each head takes off the score a fixed slope times the distance, so far keys fade at a
rate that differs from head to head, at any length. Paper: Press et al. 2021 (arXiv:2108.12409), section 3.
"""

import torch
from torch import Tensor, nn

from nexus.layers.positional._distance import distances


class ALiBi(nn.Module):
    """Biases (1, H, T, K) for the scores; no parameters.

    Args:
        n_heads: heads; slopes are ``2^(-8 i / n)``, and for other counts than powers of two those of the authors' code.
    """

    slopes: Tensor

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        self.register_buffer("slopes", slopes(n_heads), persistent=False)

    def forward(self, length: int, keys: int) -> Tensor:
        """Biases of ``length`` queries, the last of which stands at the last of ``keys`` keys.

        Distances count to both sides, so the same biases serve encoders.
        """
        distance = distances(length, keys, self.slopes.device).abs()
        return (-self.slopes[:, None, None] * distance).unsqueeze(0)


def slopes(n_heads: int) -> Tensor:
    """(H,) slopes; missing heads take every other slope of the next power of two."""
    power = 1 << (n_heads.bit_length() - 1)
    row = 2.0 ** (-8 / power * torch.arange(1, power + 1, dtype=torch.float64))
    between = 2.0 ** (-4 / power * torch.arange(1, 2 * power + 1, 2, dtype=torch.float64))
    return torch.cat((row, between[: n_heads - power])).float()
