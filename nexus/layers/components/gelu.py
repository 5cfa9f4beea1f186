"""Smooth activations: GELU, SiLU, Mish, SELU, and squared ReLU.

The one idea: weigh the input by how likely something smaller is, instead of cutting it off at zero. Papers: Hendrycks
and Gimpel 2016 (arXiv:1606.08415), section 2; Ramachandran et al. 2017 (arXiv:1710.05941, SiLU); Misra 2019
(arXiv:1908.08681, Mish); Klambauer et al. 2017 (arXiv:1706.02515, SELU); So et al. 2021 (arXiv:2109.08668, ReLU^2).
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SELU_ALPHA = 1.6732632423543772848170429916717  # the fixed point of mean 0 and variance 1 (arXiv:1706.02515, eq. 14)
SELU_SCALE = 1.0507009873554804934193349852946


def gelu(x: Tensor) -> Tensor:
    """``x Phi(x)``; Phi by the complement, which keeps its digits where ``1 + erf(x)`` has lost them (x below -5)."""
    return 0.5 * x * torch.special.erfc(x * -math.sqrt(0.5))


def gelu_tanh(x: Tensor) -> Tensor:
    """The paper's approximation ``0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))``, GPT-2's activation."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    return x * torch.sigmoid(2 * inner)  # (1 + tanh(u)) / 2 is sigmoid(2 u), without the loss of digits


def gelu_quick(x: Tensor) -> Tensor:
    """The paper's other approximation ``x sigmoid(1.702 x)``, CLIP's activation."""
    return x * torch.sigmoid(1.702 * x)


def silu(x: Tensor) -> Tensor:
    """``x sigmoid(x)``, also called Swish."""
    return x * torch.sigmoid(x)


def mish(x: Tensor) -> Tensor:
    """``x tanh(log(1 + e^x))``."""
    return x * torch.logaddexp(x, torch.zeros((), dtype=x.dtype, device=x.device)).tanh()


def selu(x: Tensor) -> Tensor:
    """``scale x`` above zero, ``scale alpha (e^x - 1)`` below."""
    below = SELU_ALPHA * x.clamp(max=0).expm1()  # clamped: an overflow on the unused side would poison the gradient
    return SELU_SCALE * torch.where(x > 0, x, below)


def relu_squared(x: Tensor) -> Tensor:
    """``max(x, 0)^2``."""
    return x.relu().square()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "gelu_quick": gelu_quick,
    "silu": silu,
    "mish": mish,
    "selu": selu,
    "relu": torch.relu,
    "relu_squared": relu_squared,
}
# Torch's kernels for the same functions, one pass over memory each. GELU's is 0 in float64 from -8.3 down, where
# `gelu` still has digits.
KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "selu": F.selu,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """An activation by name.

    Raises:
        ValueError: there is none of this name; lists those there are.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name!r}: is unknown; use one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


class GELU(nn.Module):
    """An activation of this family as a module.

    Args:
        kind: a name in `ACTIVATIONS`.
        fused: take torch's kernel where there is one, instead of the formula.
    """

    def __init__(self, kind: str = "gelu", fused: bool = True) -> None:
        super().__init__()
        formula = activation(kind)
        self.kind, self.fn = kind, KERNELS.get(kind, formula) if fused else formula

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to every element of ``x``."""
        return self.fn(x)
