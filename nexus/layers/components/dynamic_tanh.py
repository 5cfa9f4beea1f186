"""Dynamic Tanh (DyT): a norm without statistics.

The one idea: what a norm does to large activations looks like an S-shaped curve, so a learnt ``tanh(alpha x)`` per
element can stand in its place. Paper: Zhu et al. 2025 (arXiv:2503.10622), eq. 3.
"""

import torch
from torch import Tensor, nn


class DynamicTanh(nn.Module):
    """``weight * tanh(alpha x) + bias`` over the last dimension.

    Args:
        dim: width of the last dimension. alpha: its start; the paper uses 0.5, and less for wide language models.
    """

    def __init__(self, dim: int, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(alpha))
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Squash ``x`` (..., dim); same shape out."""
        return torch.addcmul(self.bias, (self.alpha * x).tanh(), self.weight)
