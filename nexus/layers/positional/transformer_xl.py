"""Relative positions in the scores (Transformer-XL).

The one idea: of the product of two absolute positions keep only what depends on the distance: content meets a sinusoid
of the distance, and learnt vectors u and v stand for the query's own position. Paper: Dai et al. 2019
(arXiv:1901.02860), section 3.3, terms (a) to (d).
"""

import torch
from torch import Tensor, nn

from nexus.layers.positional._distance import distances, pick
from nexus.layers.positional.sinusoidal import SinusoidalEncoding


class TransformerXLEncoding(nn.Module):
    """Scores from queries, keys and distances.

    Args:
        d_model: width of the sinusoids. n_heads, head_dim: of the queries.
    """

    def __init__(self, d_model: int, n_heads: int, head_dim: int) -> None:
        super().__init__()
        self.sinusoids = SinusoidalEncoding(d_model, layout="sin_cos")
        self.r_proj = nn.Linear(d_model, n_heads * head_dim, bias=False)  # W_{k,R}
        self.u = nn.Parameter(torch.zeros(n_heads, head_dim))
        self.v = nn.Parameter(torch.zeros(n_heads, head_dim))

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """``((q + u) k + (q + v) W r) / sqrt(d)``: (B, H, T, D), (B, H, K, D) to (B, H, T, K)."""
        length, keys = q.shape[-2], k.shape[-2]
        distance = distances(length, keys, q.device)
        nearest = int(distance.min())
        every = torch.arange(nearest, int(distance.max()) + 1, device=q.device)  # each distance once, not T K of them
        r = self.r_proj(self.sinusoids(every, q.dtype)).unflatten(-1, self.u.shape).transpose(0, 1)  # (H, N, D)
        content = (q + self.u.unsqueeze(1)) @ k.mT
        position = pick((q + self.v.unsqueeze(1)) @ r.mT, distance - nearest)
        return (content + position) / q.shape[-1] ** 0.5
