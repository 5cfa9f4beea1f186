"""S5: its proof, its forms, and its freedom to change the rate."""

import pytest
import torch

from nexus.layers.ssm.s5 import S5
from tests.numerics import close, randomise
from tests.state_space import forms_agree, is_causal, proof_holds


@pytest.mark.parametrize("seed", range(3))
def test_proof(seed):
    proof_holds("s5", seed)


@pytest.mark.parametrize("length", [1, 2, 13])
@pytest.mark.parametrize("conj_sym", [False, True])
@pytest.mark.parametrize("way", ["zoh", "bilinear"])
def test_whole_chunked_and_step_by_step_are_one(length, conj_sym, way):
    layer = S5(4, 8, 2, conj_sym, way).double()
    randomise(layer, 0.1)
    forms_agree(layer, torch.randn(2, length, 4, dtype=torch.float64))


def test_it_is_causal():
    is_causal(S5(4, 8).double(), torch.randn(1, 9, 4, dtype=torch.float64))


def test_half_the_states_are_the_whole_at_the_start():
    torch.manual_seed(0)
    half = S5(4, 8)
    torch.manual_seed(0)
    whole = S5(4, 8, conj_sym=False)
    with torch.no_grad():
        whole.log_step.copy_(half.log_step.repeat(2))
        whole.D.copy_(half.D)
    x = torch.randn(1, 7, 4)
    close(half(x)[0], whole(x)[0], 1e-5)


def test_a_signal_held_twice_as_long_at_half_the_step_ends_in_the_same_state():
    layer = S5(4, 8, dt_min=0.01).double()
    x = torch.randn(1, 6, 4, dtype=torch.float64)
    coarse = layer(x, layer.init_state(1))[1]
    fine = layer(x.repeat_interleave(2, dim=1), layer.init_state(1), rate=0.5)[1]
    close(fine, coarse, 1e-9)


def test_blocks_must_fit():
    with pytest.raises(ValueError, match="d_state=6: must be a multiple of 2 blocks = 4"):
        S5(4, 6, blocks=2)
