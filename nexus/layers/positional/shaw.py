"""Relative positions as vectors added to keys and values (Shaw).

The one idea: a learnt vector for each distance, cut off at a largest one, is added to the key and to the value that a
query looks at. Paper: Shaw et al. 2018 (arXiv:1803.02155), eq. 3 to 5. No T x K x D tensor is made: queries meet the
table first, and weights are summed by distance before they meet it.
"""

import torch
from torch import Tensor, nn

from nexus.layers.positional._distance import distances, pick


class ShawEncoding(nn.Module):
    """Attention with relative keys and values, shared by all heads.

    Args:
        head_dim: channels of a head.
        max_distance: k; further apart counts as k.
        values: also add vectors to the values (eq. 3); the paper found keys alone enough.
    """

    def __init__(self, head_dim: int, max_distance: int, values: bool = True) -> None:
        super().__init__()
        self.max_distance = max_distance
        rows = 2 * max_distance + 1
        self.keys = nn.Parameter(torch.randn(rows, head_dim) * head_dim**-0.5)
        self.values = nn.Parameter(torch.randn(rows, head_dim) * head_dim**-0.5) if values else None

    def index(self, length: int, keys: int, device: torch.device | None = None) -> Tensor:
        """Row (T, K) of the tables: ``clip(key - query, -k, k) + k`` (eq. 5)."""
        far = self.max_distance
        return (-distances(length, keys, device)).clamp(-far, far) + far

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """``q (k + a)^T / sqrt(d)`` (eq. 4): (B, H, T, D), (B, H, K, D) to (B, H, T, K)."""
        index = self.index(q.shape[-2], k.shape[-2], q.device)
        return (q @ k.mT + pick(q @ self.keys.mT, index)) / q.shape[-1] ** 0.5

    def read(self, weights: Tensor, v: Tensor) -> Tensor:
        """``sum_j w_ij (v_j + a_ij)`` (eq. 3): (B, H, T, K), (B, H, K, D) to (B, H, T, D)."""
        y = weights @ v
        if self.values is None:
            return y
        length, keys = weights.shape[-2:]
        index = self.index(length, keys, weights.device).expand_as(weights)
        by_distance = weights.new_zeros(*weights.shape[:-1], len(self.values)).scatter_add(-1, index, weights)
        return y + by_distance @ self.values

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend; ``mask`` is True where a query may look and leaves every query something to look at."""
        scores = self.scores(q, k)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return self.read(scores.softmax(-1), v)
