"""LRU and RG-LRU: the proof, the forms, the size of the state."""

import pytest
import torch

from nexus.layers.ssm.rg_lru import LRU, RGLRU
from tests.numerics import randomise
from tests.state_space import forms_agree, is_causal, proof_holds


@pytest.mark.parametrize("seed", range(3))
def test_proof(seed):
    proof_holds("rg_lru", seed)


@pytest.mark.parametrize("length", [1, 2, 13])
@pytest.mark.parametrize("make", [lambda: RGLRU(8, 2), lambda: RGLRU(8, 1, False), lambda: LRU(8, 5)])
def test_whole_chunked_and_step_by_step_are_one(make, length):
    layer = make().double()
    randomise(layer, 0.3)
    forms_agree(layer, torch.randn(2, length, 8, dtype=torch.float64))


def test_they_are_causal():
    for layer in (RGLRU(8), LRU(8, 5)):
        is_causal(layer.double(), torch.randn(1, 9, 8, dtype=torch.float64))


def test_the_state_keeps_its_size():
    """Noise of variance 1 goes in; with the factor sqrt(1 - a^2) the state's variance stays near that of i x."""
    layer = RGLRU(64)
    with torch.no_grad():
        layer.input_weight.zero_()
        layer.input_bias.fill_(10.0)  # i = 1
        h = layer(torch.randn(4, 4000, 64))[0]
    assert 0.8 < h[:, 1000:].var() < 1.2


def test_closed_gates_have_finite_gradients():
    layer = RGLRU(8)
    with torch.no_grad():
        layer.decay_bias.fill_(-100.0)  # r = 0, a = 1: the root of 1 - a^2 has no slope there
    layer(torch.randn(1, 5, 8))[0].sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_blocks_must_fit():
    with pytest.raises(ValueError, match="blocks=3: must divide width=8"):
        RGLRU(8, 3)
