"""Relative position buckets (T5).

The one idea: one learnt number for each head and each bucket of distances, added to the scores; near distances have a
bucket each, far ones share buckets that grow like a logarithm. Paper: Raffel et al. 2019 (arXiv:1910.10683), section
2.1; the bucket boundaries are those of the released code, the paper does not give them.
"""

import math

import torch
from torch import Tensor, nn

from nexus.layers.positional._distance import distances


class T5Bias(nn.Module):
    """Biases (1, H, T, K) for the scores.

    Args:
        n_heads: heads. n_buckets: half of them for the future if ``bidirectional``.
        max_distance: from here on all is one bucket.
        bidirectional: encoder (past and future apart) or decoder (future counts as distance 0).
    """

    def __init__(self, n_heads: int, n_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True) -> None:
        super().__init__()
        self.n_buckets, self.max_distance, self.bidirectional = n_buckets, max_distance, bidirectional
        self.weight = nn.Parameter(torch.randn(n_buckets, n_heads) * 0.02)

    def forward(self, length: int, keys: int) -> Tensor:
        """Biases of ``length`` queries, the last of which stands at the last of ``keys`` keys."""
        buckets = self.buckets(distances(length, keys, self.weight.device))
        return self.weight.T[:, buckets].unsqueeze(0)

    def buckets(self, distance: Tensor) -> Tensor:
        """Bucket of each ``distance`` (query minus key)."""
        n, offset = self.n_buckets, torch.zeros_like(distance)
        if self.bidirectional:
            n //= 2
            offset = (distance < 0) * n
            distance = distance.abs()
        distance = distance.clamp(min=0)
        exact = n // 2
        # In float32, and in this order: at the boundaries the last bit decides, and models learnt with this one.
        log = (distance.clamp(min=1).float() / exact).log() / math.log(self.max_distance / exact)
        far = (exact + (log * (n - exact)).long()).clamp(max=n - 1)
        return offset + torch.where(distance < exact, distance, far)
