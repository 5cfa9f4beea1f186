"""ALiBi: the proof, decoding, and reach that grows from head to head."""

import pytest
import torch

from nexus.layers.positional import ALiBi
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("alibi", (0,))


@pytest.mark.parametrize("heads", [1, 2, 8, 16, 64])
def test_powers_of_two_are_the_papers_row(heads):
    close(ALiBi(heads).slopes, torch.tensor([2.0 ** (-8 * h / heads) for h in range(1, heads + 1)]), 1e-6)


def test_one_more_query_has_the_last_row():
    bias = ALiBi(6)
    close(bias(1, 50), bias(50, 50)[:, :, -1:], 0)
    assert torch.equal(bias(9, 9), bias(9, 9).mT)
