"""FIRE: functional interpolation of relative positions.

The one idea: a small network maps the distance to a bias, and the distance is first divided by the query's own
position, so that at any length its input stays between 0 and 1. Paper: Li et al. 2023 (arXiv:2310.04418), eq. 8.
"""

import torch
from torch import Tensor, nn

from nexus.layers.positional._distance import positions


class FIRE(nn.Module):
    """Biases (1, H, T, K) for causal scores.

    Args:
        n_heads: heads. hidden: width of the network.
        c: start of the learnt scale inside the logarithm. threshold: start of the learnt shortest divisor L.
        eps: keeps the first position from dividing by nothing.
    """

    def __init__(
        self, n_heads: int, hidden: int = 32, c: float = 0.1, threshold: float = 512.0, eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, n_heads))
        self.c = nn.Parameter(torch.tensor(c))
        self.threshold = threshold
        self.threshold_gain = nn.Parameter(torch.tensor(1.0))  # the code learns a factor, so that its rate is no matter
        self.eps = eps

    def forward(self, length: int, keys: int) -> Tensor:
        """Biases of ``length`` queries, the last of which stands at the last of ``keys`` keys; 0 distance ahead."""
        return self.net(self.progress(length, keys).unsqueeze(-1)).permute(2, 0, 1).unsqueeze(0)

    def progress(self, length: int, keys: int) -> Tensor:
        """(T, K) ``psi(i - j) / psi(max(i, L))`` with ``psi(x) = log(|c| x + 1)``."""
        query, key = (t.to(self.c.dtype) for t in positions(length, keys, self.c.device))
        divisor = torch.maximum(query, (self.threshold * self.threshold_gain).abs())
        distance = (query[:, None] - key).clamp(min=0)
        c = self.c.abs()
        return (c * distance + 1).log() / ((c * divisor + 1).log() + self.eps).unsqueeze(-1)
