"""CoPE: contextual position encoding.

The one idea: what counts as one step is decided by content: a key's position is the sum of the gates between it and
the query, so a head can count words, sentences or only some token. Paper: Golovneva et al. 2024 (arXiv:2405.18719),
eq. 3 to 5.
"""

import torch
from torch import Tensor, nn


class CoPE(nn.Module):
    """Scores of content-counted positions.

    Args:
        head_dim: channels of a head. max_position: positions counted at most; further counts as that.
    """

    def __init__(self, head_dim: int, max_position: int) -> None:
        super().__init__()
        self.max_position = max_position
        self.weight = nn.Parameter(torch.zeros(max_position, head_dim))

    def positions(self, scores: Tensor) -> Tensor:
        """Positions (B, H, T, K) from masked scores: sums of gates from each key up to the query (eq. 3 and 4)."""
        gates = scores.sigmoid()  # zero where the score is masked with minus infinity
        return gates.flip(-1).cumsum(-1).flip(-1).clamp(max=self.max_position - 1)

    def forward(self, q: Tensor, scores: Tensor) -> Tensor:
        """What to add to ``scores`` (B, H, T, K), already scaled and masked; ``q`` (B, H, T, D).

        Fractional positions take the mean of their two neighbours' scores (eq. 5), made for whole positions once.
        """
        position = self.positions(scores)
        whole = q @ self.weight.mT  # (B, H, T, P)
        low = position.floor().long()
        share = position - low
        high = (low + 1).clamp(max=self.max_position - 1)
        return whole.gather(-1, low) * (1 - share) + whole.gather(-1, high) * share
