"""Eight-bit weights: a model of a quarter of the size that decodes faster, since a decode step only reads weights.

The one idea: each row of a weight is stored as integers from -127 to 127 and one scale, so that ``scale * codes`` is
off by at most half a scale; activations stay floating point. Every ``nn.Linear`` is replaced, a head that was tied to
the embedding too (the embedding stays as it is: it is looked up, not multiplied). ::

    quantize(model)                      # in place; model.eval() is yours to call
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

M = TypeVar("M", bound=nn.Module)
CODES = 127  # symmetric: -128 is not used, so that a negated weight has negated codes
FEW_ROWS = 16  # up to here the integer kernel is faster than making floating-point weights again (benchmarks/int8.py)


class Int8Linear(nn.Module):
    """A linear map whose weight (N, K) is held as ``codes`` (N, K) int8 and ``scale`` (N,).

    Source: per-channel symmetric quantisation, Krishnamoorthi, arXiv:1806.08342, section 2.2.
    """

    codes: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach()
        scale = weight.abs().amax(1).clamp_min(torch.finfo(weight.dtype).tiny * CODES) / CODES
        self.register_buffer("codes", (weight / scale[:, None]).round().clamp(-CODES, CODES).to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone(), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The weight that the codes stand for, (N, K) in the dtype of the scale."""
        return self.codes * self.scale[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (..., K) to (..., N)."""
        rows = x.reshape(-1, self.in_features)
        if len(rows) > FEW_ROWS or x.dtype != self.scale.dtype:
            return F.linear(x, self.weight.to(x.dtype), self.bias)
        out = torch._weight_int8pack_mm(rows.contiguous(), self.codes, self.scale)
        out = out if self.bias is None else out + self.bias
        return out.view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Sizes, as of ``nn.Linear``."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


def quantize(model: M) -> M:
    """Replace every ``nn.Linear`` of ``model`` by an :class:`Int8Linear`, in place, for inference only.

    Returns:
        the model, so that calls can be chained.

    Raises:
        ValueError: the model itself is a linear layer, or has none left to replace.
    """
    if isinstance(model, nn.Linear):
        raise ValueError("model: is an nn.Linear itself; use Int8Linear(model)")
    found = [(parent, name) for parent in model.modules() for name, child in parent.named_children() if _plain(child)]
    if not found:
        raise ValueError("model: has no nn.Linear left; it is quantised already, or is made of other layers")
    for parent, name in found:
        setattr(parent, name, Int8Linear(getattr(parent, name)))
    return model


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, shared ones once."""
    tensors = {t.data_ptr(): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _plain(module: nn.Module) -> bool:
    """Exactly ``nn.Linear``: a subclass may compute something else."""
    return type(module) is nn.Linear
