"""HiPPO-LegS: the matrix that keeps the best polynomial of everything seen so far, and its diagonal-plus-low-rank form.

The one idea: let the state be the coefficients, in scaled Legendre polynomials, of the whole past; how they change as
time goes on is a linear system with a known matrix A. Papers: Gu et al. 2020 (arXiv:2008.07669), theorem 2;
Gu, Goel and Re 2021 (arXiv:2111.00396), theorem 1 and appendix C.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def hippo_legs(n: int) -> tuple[Tensor, Tensor]:
    """A (n, n) and B (n,) of ``x' = A x + B u`` (the sign is in A), in float64 (arXiv:2111.00396, eq. 2)."""
    root = (2 * torch.arange(n, dtype=torch.float64) + 1).sqrt()
    below = torch.tril(root[:, None] * root[None, :], -1)
    return -(below + torch.diag(torch.arange(1, n + 1, dtype=torch.float64))), root


class DPLR(NamedTuple):
    """``V^* A V = diag(eigenvalues) - P P^*`` and ``V^* B = B``: one of each pair of conjugates, n / 2 of them."""

    eigenvalues: Tensor  # (n / 2,)
    p: Tensor  # (n / 2,)
    b: Tensor  # (n / 2,)
    v: Tensor  # (n, n / 2)


def dplr_legs(n: int) -> DPLR:
    """HiPPO-LegS as a diagonal minus rank one, complex128.

    ``A + P P^T`` with ``P_n = sqrt(n + 1/2)`` is -1/2 plus a skew-symmetric matrix, which a unitary V makes diagonal.
    Of each pair of eigenvalues the one with the negative imaginary part is kept.

    Raises:
        ValueError: ``n`` is odd; eigenvalues come in pairs.
    """
    if n % 2:
        raise ValueError(f"d_state={n}: is odd; give an even number, eigenvalues come in conjugate pairs")
    a, b = hippo_legs(n)
    p = (torch.arange(n, dtype=torch.float64) + 0.5).sqrt()
    normal = a + p[:, None] * p[None, :]
    imaginary, v = torch.linalg.eigh(normal * -1j)
    half = imaginary.argsort()[: n // 2]
    v = v[:, half]
    turned = v.conj().mT
    return DPLR(normal.diagonal().mean() + 1j * imaginary[half], turned @ p.to(v), turned @ b.to(v), v)
