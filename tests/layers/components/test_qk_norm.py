"""QK-norm: the proof, bounded scores, and what is refused."""

import pytest
import torch

from nexus.layers.components import QKNorm
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("qk_norm")


@pytest.mark.parametrize(("kind", "bound"), [("l2", 5.0), ("rms", 8**0.5)])
def test_scores_are_bounded_however_long_the_queries(kind, bound):
    norm = QKNorm(8, kind, length=6).double()
    if kind == "l2":
        torch.nn.init.constant_(norm.scale, bound)
    q, k = 1e6 * torch.randn(2, 1, 2, 50, 8, dtype=torch.float64)
    q, k = norm(q, k)
    assert (q @ k.mT / 8**0.5).abs().max() <= bound * (1 + 1e-9)
    close(norm(7 * q, k)[0], norm(q, k)[0], 1e-5)


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="kind='l1'"):
        QKNorm(8, "l1")
