"""CoPE: the proof, counting by content, and interpolation."""

import torch

from nexus.layers.positional import CoPE
from tests.numerics import close
from tests.proofs import proof_holds


def causal(scores):
    length = scores.shape[-1]
    return scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), float("-inf"))


def test_the_proof_holds():
    proof_holds("cope")


def test_it_counts_what_the_gates_let_through():
    marks = torch.tensor([0, 1, 0, 0, 1, 1, 0])
    scores = causal((100.0 * marks - 50).expand(1, 1, 7, 7))
    expected = marks.flip(0).cumsum(0).flip(0).float()  # from each key to the last query
    close(CoPE(4, 10).positions(scores)[0, 0, -1], expected, 1e-5)


def test_fractions_take_both_neighbours():
    cope, q = CoPE(1, 4).double(), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        cope.weight.copy_(torch.tensor([[0.0], [10], [20], [50]]))
    half = torch.zeros(1, 1, 1, 5, dtype=torch.float64)  # gates of one half: positions 2.5, 2, 1.5, 1, 0.5
    close(cope(q, half).flatten(), torch.tensor([35.0, 20, 15, 10, 5]).double())
