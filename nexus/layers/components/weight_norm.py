"""Weight normalisation.

The one idea: write each row of a weight as a length times a direction and learn the two apart, so that a step can turn
a row without stretching it. Paper: Salimans and Kingma 2016 (arXiv:1602.07868), eq. 2 and 3. It is a parametrisation in
torch's sense, so the module stays what it is, and state dicts are those of ``torch.nn.utils.parametrizations``.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Module = TypeVar("Module", bound=nn.Module)


class WeightNorm(nn.Module):
    """``w = g v / |v|``, the length taken over all dimensions but one.

    Args:
        dim: the dimension with a length for each index; 0, the outputs of linear layers and convolutions.
    """

    def __init__(self, dim: int = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, length: Tensor, direction: Tensor) -> Tensor:
        """The weight from g, of size 1 but in ``dim``, and v (eq. 2)."""
        return direction * (length / self.lengths(direction))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """g and v that give ``weight``."""
        return self.lengths(weight), weight

    def lengths(self, weight: Tensor) -> Tensor:
        """Euclidean length for each index of ``dim``, which keeps its place."""
        others = [i for i in range(weight.dim()) if i != self.dim % weight.dim()]
        return torch.linalg.vector_norm(weight, dim=others, keepdim=True)


def weight_norm(module: Module, name: str = "weight", dim: int = 0) -> Module:
    """The module, its parameter ``name`` now made from a length and a direction; it starts with the same numbers."""
    parametrize.register_parametrization(module, name, WeightNorm(dim))
    return module


def start_from_data(module: nn.Linear, x: Tensor) -> None:
    """Set lengths and bias so that each output has mean 0 and variance 1 over ``x`` (..., d_in) (section 3)."""
    with torch.no_grad():
        y = module(x).flatten(0, -2)
        variance, mean = torch.var_mean(y, dim=0, correction=0)
        module.get_parameter("parametrizations.weight.original0").div_(variance.sqrt().unsqueeze(1))
        module.bias.copy_((module.bias - mean) / variance.sqrt())
