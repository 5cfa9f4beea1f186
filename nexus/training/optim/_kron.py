"""What Shampoo and SOAP share: Kronecker factors of a gradient's second moment."""

from __future__ import annotations

import torch
from torch import Tensor


def factor_update(gradient: Tensor, axis: int) -> Tensor:
    """``G G^T`` with ``G`` unfolded along ``axis``: (n, n)."""
    others = [i for i in range(gradient.dim()) if i != axis]
    return torch.tensordot(gradient, gradient, dims=(others, others))


def along(tensor: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """``tensor`` with ``matrix`` (n, m) applied to its ``axis``: sum_n t[.. n ..] M[n, m]."""
    return torch.tensordot(tensor, matrix, dims=([axis], [0])).movedim(-1, axis)


def inverse_root(matrix: Tensor, power: int, eps: float) -> Tensor:
    """``(M + eps I)^(-1/power)`` of a symmetric matrix, by its eigenvalues in double precision."""
    shifted = matrix.double() + eps * torch.eye(len(matrix), dtype=torch.float64, device=matrix.device)
    values, vectors = torch.linalg.eigh(shifted)
    return ((vectors * values.clamp(min=eps).pow(-1.0 / power)) @ vectors.mT).to(matrix.dtype)
