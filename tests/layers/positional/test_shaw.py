"""Shaw's relative positions: the proof, odd sizes, and gradients by finite differences."""

import pytest
import torch

from nexus.layers.positional import ShawEncoding
from tests.numerics import close, randomise
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("shaw")


@pytest.mark.parametrize(("length", "keys"), [(1, 1), (1, 9), (9, 9), (4, 9)])
def test_the_last_queries_of_a_longer_text(length, keys):
    layer = ShawEncoding(4, 2).double()
    q, k, v = (torch.randn(1, 2, keys, 4, dtype=torch.float64) for _ in range(3))
    close(layer(q[:, :, keys - length :], k, v), layer(q, k, v)[:, :, keys - length :])


def test_equal_distances_are_equal_anywhere():
    layer = ShawEncoding(4, 3, values=False).double()
    q, k = (torch.randn(4, dtype=torch.float64).expand(1, 1, 20, 4) for _ in range(2))
    scores = layer.scores(q, k)[0, 0]
    close(scores[1:, 1:], scores[:-1, :-1])
    close(scores[10, :7], scores[10, 0].expand(7))  # beyond 3 all are one


def test_gradcheck():
    layer = ShawEncoding(3, 1).double()
    randomise(layer)
    q, k, v = (torch.randn(1, 1, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(lambda *t: layer(*t), (q, k, v))
