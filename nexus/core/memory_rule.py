"""The update rule of a memory that learns while it reads, as plain functions on tensors.

The one idea: the memory is a small MLP whose weights are the state. Each token's surprise is the gradient of how badly
the memory maps its key to its value; momentum carries surprise on and forgetting fades the weights. Inside a chunk all
gradients are taken at the weights that the chunk began with, each is a product of two vectors, and so the weights of
every single step can be applied to a query by matrix products, without ever being written out.
Paper: Titans, Behrouz et al. 2024 (arXiv:2501.00663), section 3.1 (rule) and 3.2 (parallel form).

Shapes: tokens (B, H, Q, d); gates (B, H, Q); weights and momentum are flat, (B, H, P), see :class:`Layout`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Layout(NamedTuple):
    """How a flat vector of P numbers is cut into the matrices of an MLP of ``depth`` layers, width ``dim`` in and out.

    ``hidden`` is the width between layers; the activation between them is SiLU.
    """

    dim: int
    hidden: int
    depth: int

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of each matrix."""
        widths = [self.dim, *[self.hidden] * (self.depth - 1), self.dim]
        return [(widths[i + 1], widths[i]) for i in range(self.depth)]

    @property
    def size(self) -> int:
        """Numbers in all matrices, P."""
        return sum(rows * columns for rows, columns in self.shapes)

    def cut(self, flat: Tensor) -> list[Tensor]:
        """Views (..., out, in) of the matrices in ``flat`` (..., P)."""
        parts = flat.split([rows * columns for rows, columns in self.shapes], dim=-1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, self.shapes, strict=True)]


class Gates(NamedTuple):
    """What each token does to the memory, each (B, H, Q).

    ``forget`` is alpha in [0, 1], the share of the weights that fades; ``keep`` is eta in [0, 1), the share of past
    surprise that goes on; ``learn`` is theta, the step size.
    """

    forget: Tensor
    keep: Tensor
    learn: Tensor


class Update(NamedTuple):
    """The state after some tokens, what was read at each, and how surprising each was: the norm of its gradient."""

    weights: Tensor
    momentum: Tensor
    read: Tensor
    surprise: Tensor


def apply_mlp(layout: Layout, flat: Tensor, x: Tensor) -> Tensor:
    """The memory ``flat`` (B, H, P) read at ``x`` (B, H, Q, dim)."""
    matrices = layout.cut(flat)
    for i, matrix in enumerate(matrices):
        x = x @ matrix.mT
        x = F.silu(x) if i < len(matrices) - 1 else x
    return x


def token_gradients(layout: Layout, flat: Tensor, key: Tensor, value: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of ``|M(key) - value|^2`` (eq. 12), token by token, as factors.

    Returns:
        For each layer ``left`` (B, H, Q, out) and ``right`` (B, H, Q, in): token t's gradient is ``left_t right_t^T``.
    """
    matrices = layout.cut(flat)
    right, slopes, x = [], [], key
    for i, matrix in enumerate(matrices):
        right.append(x)
        x = x @ matrix.mT
        if i < len(matrices) - 1:
            gate = x.sigmoid()
            slopes.append(gate * (1 + x * (1 - gate)))
            x = x * gate
    delta = 2 * (x - value)
    left = [delta]
    for matrix, slope in zip(matrices[:0:-1], reversed(slopes), strict=True):
        delta = (delta @ matrix) * slope
        left.append(delta)
    return left[::-1], right


def gradient_norms(left: list[Tensor], right: list[Tensor]) -> Tensor:
    """Norm (B, H, Q) of each token's whole gradient; that of a product of two vectors is the product of their norms."""
    squares = [a.square().sum(-1) * b.square().sum(-1) for a, b in zip(left, right, strict=True)]
    return torch.stack(squares).sum(0).add(torch.finfo(squares[0].dtype).tiny).sqrt()


def update_chunk(
    layout: Layout,
    anchor: Tensor,
    weights: Tensor,
    momentum: Tensor,
    tokens: tuple[Tensor, Tensor, Tensor],
    gates: Gates,
    clip: float,
) -> Update:
    """Take in all tokens of (a piece of) one chunk at once; equal to :func:`update_step` token by token.

    Args:
        anchor: the weights at which gradients are taken: those the chunk began with. weights, momentum: the state now.
        tokens: key, value and query, each (B, H, Q, dim); token t is read after it has been taken in.
        clip: longest gradient of one token; longer ones are scaled down.
    """
    key, value, query = tokens
    left, right = token_gradients(layout, anchor, key, value)
    norms = gradient_norms(left, right)
    size = -gates.learn * (clip / norms).clamp(max=1)
    fade = _products(torch.log1p(-gates.forget))  # (B, H, Q + 1, Q + 1): from before token s to after token t
    carry = _products(gates.keep.log())
    # M_t = fade M_0 + sum_i fade_(t,i) S_i with S_i = carry S_0 + sum_s carry_(i,s) size_s g_s (eqs. 9, 10, 13)
    old_weights = fade[..., 1:, :1]
    both = fade[..., 1:, 1:] @ carry[..., 1:, :]
    old_momentum, new = both[..., :1], both[..., 1:] * size.unsqueeze(-2)
    read = query
    parts = list(zip(layout.cut(weights), layout.cut(momentum), left, right, strict=True))
    for i, (matrix, speed, a, b) in enumerate(parts):
        seen = ((read @ b.mT) * new) @ a
        read = old_weights * (read @ matrix.mT) + old_momentum * (read @ speed.mT) + seen
        read = F.silu(read) if i < len(parts) - 1 else read
    last = carry[..., -1, 1:] * size
    moved = [_flat_sum(last, left, right), _flat_sum(new[..., -1, :], left, right)]
    momentum_after = carry[..., -1, :1] * momentum + moved[0]
    weights_after = old_weights[..., -1, :] * weights + old_momentum[..., -1, :] * momentum + moved[1]
    return Update(weights_after, momentum_after, read, norms)


def update_step(
    layout: Layout,
    anchor: Tensor,
    weights: Tensor,
    momentum: Tensor,
    tokens: tuple[Tensor, Tensor, Tensor],
    gates: Gates,
    clip: float,
) -> Update:
    """The rule as the paper writes it, one token (Q = 1) with written-out gradients: the truth of the fast form.

    ``S_t = keep_t S_(t-1) - learn_t grad``, ``M_t = (1 - forget_t) M_(t-1) + S_t`` (eqs. 10 and 13).
    """
    key, value, query = tokens
    left, right = token_gradients(layout, anchor, key, value)
    gradient = torch.cat([(a.mT @ b).flatten(-2) for a, b in zip(left, right, strict=True)], dim=-1)
    norm = gradient.norm(dim=-1, keepdim=True)
    gradient = gradient * (clip / norm).clamp(max=1)
    momentum = gates.keep * momentum - gates.learn * gradient
    weights = (1 - gates.forget) * weights + momentum
    return Update(weights, momentum, apply_mlp(layout, weights, query), norm)


def bound(flat: Tensor, limit: float) -> Tensor:
    """``flat`` (..., P) pulled back into the ball of radius ``limit``: what lies inside stays as it is."""
    norm = flat.square().sum(-1, keepdim=True).add(torch.finfo(flat.dtype).tiny).sqrt()
    return flat * (limit / norm).clamp(max=1)


def _products(logs: Tensor) -> Tensor:
    """``P[t, s]``: product of the factors after index s up to t, 0 for s > t; logs (..., Q) to (..., Q + 1, Q + 1)."""
    total = F.pad(logs.cumsum(-1), (1, 0))
    future = torch.ones(total.shape[-1], total.shape[-1], dtype=torch.bool, device=logs.device).triu(1)
    return (total.unsqueeze(-1) - total.unsqueeze(-2)).masked_fill(future, float("-inf")).exp()


def _flat_sum(share: Tensor, left: list[Tensor], right: list[Tensor]) -> Tensor:
    """``sum_s share_s left_s right_s^T`` for all layers, flat (B, H, P)."""
    sums = [(a * share.unsqueeze(-1)).mT @ b for a, b in zip(left, right, strict=True)]
    return torch.cat([each.flatten(-2) for each in sums], dim=-1)
