"""DeepNorm: residuals that stay stable in a thousand layers.

The one idea: weigh the residual by alpha > 1 before a LayerNorm, and start the layers' value and output matrices
smaller by beta, so that the size of a model's update does not grow with its depth. Paper: Wang et al. 2022
(arXiv:2203.00555), section 3 and figure 2. Paper and code: for an encoder beside a decoder the paper has
``beta = 0.87 (N^4 M)^(-1/16)``, the released torchscale divides by ``(N^4 M)^(1/16) / 1.15`` and so has 1.15 there;
``as_released`` picks.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DepthScale(NamedTuple):
    """Factors for a stack: ``alpha`` of residuals, ``beta`` of starting weights."""

    alpha: float
    beta: float


def depth_scale(layers: int, other: int = 0, encoder: bool = True, as_released: bool = False) -> DepthScale:
    """Alpha and beta (figure 2).

    Args:
        layers: of this stack. other: of the stack it works with, 0 if it stands alone.
        encoder: this stack is the encoder of the two.
        as_released: an encoder's beta with 1.15 in place of the paper's 0.87, see above.
    """
    if not other:
        return DepthScale((2 * layers) ** 0.25, (8 * layers) ** -0.25)
    if encoder:
        both = (layers**4 * other) ** (1 / 16)
        return DepthScale(0.81 * both, (1.15 if as_released else 0.87) / both)
    return DepthScale((3 * layers) ** 0.25, (12 * layers) ** -0.25)


class DeepNorm(nn.Module):
    """``LayerNorm(alpha x + y)`` of a residual x and a layer's output y.

    Args:
        d_model: width. alpha: from :func:`depth_scale`. eps: of the norm.
    """

    def __init__(self, d_model: int, alpha: float, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.alpha, self.eps = alpha, eps

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Join ``x`` and ``y`` (..., d_model)."""
        return F.layer_norm(torch.add(y, x, alpha=self.alpha), self.weight.shape, self.weight, self.bias, self.eps)


@torch.no_grad()
def shrink(weights: Iterable[Tensor], beta: float) -> None:
    """Multiply starting weights by beta: feed-forward, value and output matrices, not queries and keys."""
    for weight in weights:
        weight.mul_(beta)
