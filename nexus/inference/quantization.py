"""Eight-bit arithmetic: a model of less than half the size that reads and speaks two to three times as fast on a CPU.

The one idea: each row of a weight, and each row of activations as it comes, is rounded to integers from -127 to 127
with one scale of its own; products of integers are exact and fast (AVX-512 VNNI and its kin), and the two scales are
multiplied in at the end. Every ``nn.Linear`` is replaced, a head that was tied to the embedding too (the embedding
stays as it is: it is looked up, not multiplied). ::

    quantize(model)  # in place

Source: Dettmers et al., LLM.int8(), arXiv:2208.07339, section 2.1 ("vector-wise quantization").
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.inference.heap import trim_heap

M = TypeVar("M", bound=nn.Module)
CODES = 127  # symmetric: -128 is not used, so that a negated weight has negated codes


def to_codes(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N, K) as int8 codes (N, K) and scales (N, 1), with ``codes * scale`` off by at most half a scale."""
    scale = rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny * CODES) / CODES
    return (rows / scale).round().clamp(-CODES, CODES).to(torch.int8), scale


class Int8Linear(nn.Module):
    """A linear map whose weight (N, K) is held as ``codes`` (N, K) int8 and ``scale`` (N, 1); for inference only."""

    codes: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        codes, scale = to_codes(linear.weight.detach())
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().clone(), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The weight that the codes stand for, (N, K) in the dtype of the scale."""
        return self.codes * self.scale

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (..., K) to (..., N); elsewhere than on a CPU the weight is made again and activations stay exact."""
        if not x.is_cpu:
            return F.linear(x, self.weight.to(x.dtype), self.bias)
        codes, scale = to_codes(x.reshape(-1, self.in_features))
        out = torch._int_mm(codes, self.codes.t()) * scale * self.scale.to(scale.dtype).t()
        out = out if self.bias is None else out + self.bias.to(out.dtype)
        return out.view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Sizes, as of ``nn.Linear``."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


def quantize(model: M) -> M:
    """Replace every ``nn.Linear`` of ``model`` by an :class:`Int8Linear`, in place.

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
    trim_heap()  # of the room of the old weights (135M release: 899 MB, then 536)
    return model


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, shared ones once."""
    tensors = {t.data_ptr(): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _plain(module: nn.Module) -> bool:
    """Exactly ``nn.Linear``: a subclass may compute something else."""
    return type(module) is nn.Linear
