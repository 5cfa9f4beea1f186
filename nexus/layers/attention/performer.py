"""Performer: linear attention whose features stand for softmax (FAVOR+).

The one idea: ``exp(q k)`` is the mean, over random directions w, of ``exp(w q - |q|^2 / 2) exp(w k - |k|^2 / 2)``, so
m drawn directions give positive features that are unbiased for the softmax kernel; orthogonal directions vary less.
Paper: Choromanski et al. 2021 (arXiv:2009.14794), lemma 1 and section 2.4.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.layers.attention.linear import LinearAttention

KERNELS = ("softmax", "relu")


class PerformerAttention(LinearAttention):
    """Linear attention with random features.

    Args:
        d_model, n_heads, bias, chunk: as in :class:`LinearAttention`.
        n_features: directions m; the error falls with their root.
        kernel: "softmax" (FAVOR+), or "relu", the paper's generalised attention ``relu(w x) + eps``.
        eps: added to the features of "relu".
        generator: for the draw of the directions.
    """

    projection: Tensor

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        bias: bool = True,
        n_features: int = 256,
        kernel: str = "softmax",
        chunk: int = 64,
        eps: float = 1e-3,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(d_model, n_heads, bias, chunk=chunk)
        if kernel not in KERNELS:
            raise ValueError(f"kernel={kernel!r}: is no kernel; use one of {', '.join(KERNELS)}")
        self.kernel, self.eps = kernel, eps
        self.register_buffer("projection", orthogonal_directions(n_features, self.head_dim, generator))

    def query_features(self, q: Tensor) -> Tensor:
        if self.kernel == "relu":
            return F.relu(q @ self.projection.mT) + self.eps
        return softmax_features(q, self.projection, per_row=True)

    def key_features(self, k: Tensor) -> Tensor:
        if self.kernel == "relu":
            return F.relu(k @ self.projection.mT) + self.eps
        # One step's keys cannot share a maximum with later ones, so a recurrence needs features without any.
        return softmax_features(k, self.projection, per_row=False)

    @torch.no_grad()
    def redraw(self, generator: torch.Generator | None = None) -> None:
        """New directions, as the paper does every thousand steps or so."""
        n_features, dim = self.projection.shape
        self.projection.copy_(orthogonal_directions(n_features, dim, generator))


def softmax_features(x: Tensor, projection: Tensor, per_row: bool) -> Tensor:
    """Positive features (..., T, m) of ``x`` (..., T, D): ``exp(w x - |x|^2 / 2) / sqrt(m)``, x over D^(1/4).

    Args:
        per_row: take each row's maximum off the exponent. A query's factor cancels in the quotient, a key's does not.
    """
    x = x * x.shape[-1] ** -0.25
    exponent = x @ projection.mT - x.square().sum(-1, keepdim=True) / 2
    if per_row:
        exponent = exponent - exponent.amax(-1, keepdim=True).detach()
    return exponent.exp() * projection.shape[0] ** -0.5


def orthogonal_directions(n_features: int, dim: int, generator: torch.Generator | None = None) -> Tensor:
    """(m, D) rows like draws from N(0, I), but orthogonal inside each block of D rows (section 2.4)."""
    blocks = []
    for start in range(0, n_features, dim):
        square = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
        q, r = torch.linalg.qr(square)
        # QR's own signs lean to one side; with R's diagonal made positive Q is uniform, and the estimate unbiased.
        rows = (q * r.diagonal().sign()).mT[: n_features - start]
        lengths = torch.randn(len(rows), dim, generator=generator, dtype=torch.float64).norm(dim=-1, keepdim=True)
        blocks.append(rows * lengths)
    return torch.cat(blocks).to(torch.get_default_dtype())
