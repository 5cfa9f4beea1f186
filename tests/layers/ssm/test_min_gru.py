"""minGRU and minLSTM: the proof, the forms, the log-space scan."""

import pytest
import torch

from nexus.layers.ssm.linear_scan import linear_scan_recurrent
from nexus.layers.ssm.min_gru import MinGRU, MinLSTM, log_positive, log_space_scan, positive
from tests.numerics import close, randomise
from tests.state_space import forms_agree, is_causal, proof_holds


@pytest.mark.parametrize("seed", range(3))
def test_proof(seed):
    proof_holds("min_gru", seed)


@pytest.mark.parametrize("length", [1, 2, 13])
@pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
@pytest.mark.parametrize("log_space", [False, True])
def test_whole_chunked_and_token_by_token_are_one(kind, log_space, length):
    layer = kind(5, 6, log_space).double()
    randomise(layer)
    forms_agree(layer, torch.randn(2, length, 5, dtype=torch.float64))


def test_they_are_causal():
    for kind in (MinGRU, MinLSTM):
        is_causal(kind(5).double(), torch.randn(1, 9, 5, dtype=torch.float64))


def test_the_scan_of_logarithms_is_the_recurrence():
    a, b, state = torch.rand(2, 9, 3).double(), torch.rand(2, 9, 3).double(), torch.rand(2, 3).double()
    close(log_space_scan(a.log(), b.log(), state), linear_scan_recurrent(a, b, state))
    close(log_space_scan(a.log(), b.log()), linear_scan_recurrent(a, b))


def test_g_is_positive_continuous_and_its_logarithm_does_not_underflow():
    x = torch.tensor([-200.0, -1e-6, 0.0, 1e-6, 3.0])
    assert (positive(x[1:]) > 0).all()
    assert (positive(x[1]) - positive(x[3])).abs() < 1e-5
    close(log_positive(x[1:]), positive(x[1:]).log(), 1e-6)
    assert log_positive(x)[0] == -200


def test_the_state_is_a_mean_of_candidates():
    layer = MinLSTM(5, 6)
    x = torch.randn(2, 50, 5)
    candidate = layer.in_proj(x)[..., :6]
    assert (layer(x)[0].abs() <= candidate.abs().amax((0, 1)) + 1e-6).all()
