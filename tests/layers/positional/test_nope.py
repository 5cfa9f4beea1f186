"""NoPE: the proof, no memory, and theorem 1 at other lengths."""

import pytest
import torch

from nexus.layers.positional import NoPE
from nexus.layers.positional.nope import recover_positions
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("nope")


def test_zeros_that_take_no_memory():
    bias = NoPE()(1_000, 100_000)
    assert bias.shape == (1, 1, 1_000, 100_000)
    assert bias.untyped_storage().nbytes() == 4


@pytest.mark.parametrize("length", [1, 2, 127])
def test_positions_are_recovered(length):
    close(recover_positions(length), torch.arange(1.0, length + 1), 1e-4)
