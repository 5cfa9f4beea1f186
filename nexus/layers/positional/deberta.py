"""Disentangled attention (DeBERTa).

The one idea: a score is a sum of three: content to content, content to position and position to content, each with
projections of its own. Paper: He et al. 2020 (arXiv:2006.03654), eq. 3 and 4; logarithmic buckets: version 2's code.
Paper and code: in the last part the paper takes the distance from the key to the query, the released code (and every
trained model) from the query to the key, like the second part; ``as_released`` picks.
"""

import torch
from torch import Tensor, nn

from nexus.layers.positional._distance import distances, pick


class DebertaEncoding(nn.Module):
    """Scores from queries, keys and distances.

    Args:
        d_model: width of the table of relative positions. n_heads, head_dim: of queries and keys.
        max_distance: k of eq. 3; with ``n_buckets`` the distance at which buckets end.
        n_buckets: 0 for the paper's clipped distances, else that many buckets to each side (version 2).
        as_released: position to content as in the released code, see above; else as in eq. 4.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        head_dim: int,
        max_distance: int,
        n_buckets: int = 0,
        as_released: bool = True,
    ) -> None:
        super().__init__()
        self.as_released = as_released
        self.n_heads, self.max_distance, self.n_buckets = n_heads, max_distance, n_buckets
        self.span = n_buckets or max_distance
        self.table = nn.Parameter(torch.randn(2 * self.span, d_model) * 0.02)
        self.key_proj = nn.Linear(d_model, n_heads * head_dim)
        self.query_proj = nn.Linear(d_model, n_heads * head_dim)

    def index(self, distance: Tensor) -> Tensor:
        """Row of the table, delta of eq. 3."""
        if self.n_buckets:
            distance = log_buckets(distance, self.n_buckets, self.max_distance)
        return (distance + self.span).clamp(0, 2 * self.span - 1)

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """``(Qc Kc + Qc Kr + Kc Qr) / sqrt(3 d)`` (eq. 4): (B, H, T, D), (B, H, K, D) to (B, H, T, K)."""
        distance = distances(q.shape[-2], k.shape[-2], q.device)
        position_k, position_q = (
            f(self.table).unflatten(-1, (self.n_heads, -1)).transpose(0, 1) for f in (self.key_proj, self.query_proj)
        )
        to_position = pick(q @ position_k.mT, self.index(distance))
        seen = distance if self.as_released else -distance
        to_content = pick(k @ position_q.mT, self.index(seen.mT)).mT
        return (q @ k.mT + to_position + to_content) / (3 * q.shape[-1]) ** 0.5


def log_buckets(distance: Tensor, n_buckets: int, max_distance: int) -> Tensor:
    """Distances up to ``n_buckets / 2`` as they are, further ones squeezed logarithmically into the rest."""
    middle = n_buckets // 2
    size = distance.abs().clamp(min=middle).float()
    squeezed = ((size / middle).log() / torch.tensor((max_distance - 1) / middle).log() * (middle - 1)).ceil() + middle
    return torch.where(distance.abs() <= middle, distance, (squeezed * distance.sign()).long())
