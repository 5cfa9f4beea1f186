"""H3: its proof and its forms."""

import pytest
import torch

from nexus.layers.ssm.h3 import H3
from tests.numerics import close, randomise
from tests.state_space import forms_agree, proof_holds


@pytest.mark.parametrize("seed", range(3))
def test_proof(seed):
    proof_holds("h3", seed)


@pytest.mark.parametrize("length", [1, 2, 5, 13])
@pytest.mark.parametrize(("head_dim", "learn"), [(1, False), (1, True), (2, True)])
def test_convolution_chunks_and_recurrence_are_one(length, head_dim, learn):
    layer = H3(4, 6, head_dim, learn).double()
    randomise(layer, 0.1)
    forms_agree(layer, torch.randn(2, length, 4, dtype=torch.float64), 1e-8)


def test_the_shift_is_the_kernel_when_its_input_is_the_first():
    layer = H3(4, 6)
    close(layer.shift_kernel(), layer.shift_C, 1e-6)


def test_heads_must_fit():
    with pytest.raises(ValueError, match="head_dim=3: must divide d_model=4"):
        H3(4, head_dim=3)
