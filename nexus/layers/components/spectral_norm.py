"""Spectral normalisation.

The one idea: divide a weight by its largest singular value, so that the layer stretches no vector more than the size of
one; one step of power iteration a call keeps up with a weight that changes slowly. Paper: Miyato et al. 2018
(arXiv:1802.05957), eq. 8 and algorithm 1.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

Module = TypeVar("Module", bound=nn.Module)
WARM_UP = 15  # steps at the start: the vectors are drawn at random


class SpectralNorm(nn.Module):
    """``W / sigma(W)``, the weight seen as a matrix with the indices of ``dim`` as rows.

    Args:
        weight: what is to be normalised. steps: of power iteration, at each call in training.
        dim: rows of the matrix; 1 for transposed convolutions. eps: keeps lengths from being zero.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, steps: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        self.steps, self.dim, self.eps = steps, dim, eps
        rows, columns = self.matrix(weight).shape
        for name, size in (("u", rows), ("v", columns)):
            self.register_buffer(name, F.normalize(weight.new_empty(size).normal_(), dim=0, eps=eps))
        self.iterate(weight, WARM_UP)

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight as (rows, columns)."""
        return weight.movedim(self.dim, 0).flatten(1)

    @torch.no_grad()
    def iterate(self, weight: Tensor, steps: int) -> None:
        """Bring u and v nearer to the singular vectors of the largest singular value (algorithm 1)."""
        matrix = self.matrix(weight)
        for _ in range(steps):
            self.u = F.normalize(matrix @ self.v, dim=0, eps=self.eps)
            self.v = F.normalize(matrix.mT @ self.u, dim=0, eps=self.eps)

    def forward(self, weight: Tensor) -> Tensor:
        """``W / (u^T W v)`` (eq. 8); u and v are constants to the gradient, which is eq. 12 then."""
        if self.training:
            self.iterate(weight, self.steps)
        return weight / (self.u @ self.matrix(weight) @ self.v)


def spectral_norm(module: Module, name: str = "weight", steps: int = 1, dim: int = 0) -> Module:
    """The module, its parameter ``name`` now divided by its largest singular value."""
    weight = module.get_parameter(name)
    parametrize.register_parametrization(module, name, SpectralNorm(weight.detach(), steps, dim))
    return module
