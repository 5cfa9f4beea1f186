"""Hyena: its proof and its forms."""

import pytest
import torch

from nexus.layers.ssm.hyena import Hyena
from tests.numerics import close, randomise
from tests.state_space import forms_agree, proof_holds


@pytest.mark.parametrize("seed", range(3))
def test_proof(seed):
    proof_holds("hyena", seed)


@pytest.mark.parametrize("length", [1, 2, 13])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_whole_chunked_and_token_by_token_are_one(length, order):
    layer = Hyena(4, 16, order, filter_width=8).double()
    randomise(layer, 0.1)
    forms_agree(layer, torch.randn(2, length, 4, dtype=torch.float64), 1e-8)


def test_parameters_do_not_grow_with_the_length():
    sizes = {sum(p.numel() for p in Hyena(4, length).parameters()) for length in (16, 4096)}
    assert len(sizes) == 1


def test_filters_fade_at_different_rates():
    rate = Hyena(4, 16, order=2).filter.rate
    close(torch.exp(-rate[[0, -1]] * torch.tensor([1.5, 0.3])), torch.tensor([0.01, 0.01]), 1e-6)


def test_too_long_texts_and_orders_below_two_are_refused():
    with pytest.raises(ValueError, match="max_length=16: the text has 17 tokens"):
        Hyena(4, 16)(torch.randn(1, 17, 4))
    with pytest.raises(ValueError, match="order=1: must be 2 or more"):
        Hyena(4, 16, order=1)
