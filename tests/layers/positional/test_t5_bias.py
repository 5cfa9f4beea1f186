"""T5's biases: the proof, monotone buckets, and decoding."""

import pytest
import torch

from nexus.layers.positional import T5Bias
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("t5_bias")


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_grow_with_the_distance_and_are_all_used(bidirectional):
    bias = T5Bias(2, 32, 128, bidirectional)
    past = bias.buckets(torch.arange(0, 300))
    assert (past.diff() >= 0).all()
    both = bias.buckets(torch.arange(-300, 300)).unique()
    # of the future's half, the bucket of distance 0 can never be met
    assert len(both) == (31 if bidirectional else 32)


def test_one_more_query_has_the_last_row():
    bias = T5Bias(2)
    close(bias(1, 50), bias(50, 50)[:, :, -1:], 0)
    assert bias(3, 5).shape == (1, 2, 3, 5)
