"""DeBERTa's positions: the proof, fewer queries than keys, and where paper and code differ."""

import torch

from nexus.layers.positional import DebertaEncoding
from nexus.layers.positional.deberta import log_buckets
from tests.numerics import close, randomise
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("deberta")


def test_the_last_queries_of_a_longer_text():
    layer = DebertaEncoding(8, 2, 4, 3).double()
    randomise(layer)
    q, k = torch.randn(1, 2, 9, 4, dtype=torch.float64), torch.randn(1, 2, 9, 4, dtype=torch.float64)
    close(layer(q[:, :, 6:], k), layer(q, k)[:, :, 6:])


def test_paper_and_code_differ_off_the_diagonal_only():
    code, paper = (DebertaEncoding(8, 2, 4, 3, as_released=released).double() for released in (True, False))
    randomise(code)
    paper.load_state_dict(code.state_dict())
    q, k = torch.randn(1, 2, 5, 4, dtype=torch.float64), torch.randn(1, 2, 5, 4, dtype=torch.float64)
    same = torch.isclose(code(q, k), paper(q, k))
    assert torch.equal(same[0, 0], torch.eye(5, dtype=torch.bool))


def test_buckets_are_odd_and_monotone():
    far = torch.arange(-600, 601)
    buckets = log_buckets(far, 16, 512)
    assert torch.equal(buckets, -buckets.flip(0))
    assert (buckets.diff() >= 0).all()
    assert torch.equal(log_buckets(torch.arange(9), 16, 512), torch.arange(9))
