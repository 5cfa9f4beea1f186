"""QK-norm: queries and keys are normalised before they meet.

The one idea: scores that cannot grow without bound keep the softmax from saturating. Papers: Henry et al. 2020
(arXiv:2010.04245), eq. 3 to 5 (unit vectors and one learnt scale); today's form is RMSNorm with a weight per channel
(Dehghani et al. 2023, arXiv:2302.05442, section 2; Qwen3). Both are selectable.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.layers.components.rms_norm import RMSNorm


class QKNorm(nn.Module):
    """Queries and keys to normalised ones, for ``softmax(q k^T / sqrt(d))``.

    Args:
        head_dim: channels of a head.
        kind: "rms" (a norm each, weights shared by heads) or "l2" (unit vectors times a learnt scale g).
        length: of the training texts, for the start ``g = log2(L^2 - L)`` of "l2" (eq. 5).
        eps: of the norms of "rms".
    """

    def __init__(self, head_dim: int, kind: str = "rms", length: int = 512, eps: float = 1e-6) -> None:
        super().__init__()
        if kind == "rms":
            self.q_norm, self.k_norm = RMSNorm(head_dim, eps), RMSNorm(head_dim, eps)
        elif kind == "l2":
            self.scale = nn.Parameter(torch.tensor(math.log2(length**2 - length)))
        else:
            raise ValueError(f"kind={kind!r}: use 'rms' or 'l2'")
        self.kind = kind

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise q and k (..., head_dim)."""
        if self.kind == "rms":
            return self.q_norm(q), self.k_norm(k)
        # The scale goes in whole with the queries; sqrt(d) takes back what attention will divide by.
        return F.normalize(q, dim=-1) * (self.scale * q.shape[-1] ** 0.5), F.normalize(k, dim=-1)
