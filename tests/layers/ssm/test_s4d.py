"""S4D: its proof, its forms, its starts."""

import pytest
import torch

from nexus.layers.ssm.long_conv import direct_conv, fft_conv
from nexus.layers.ssm.s4d import S4D, eigenvalues
from tests.numerics import close, randomise
from tests.state_space import forms_agree, proof_holds


@pytest.mark.parametrize("seed", range(3))
def test_proof(seed):
    proof_holds("s4d", seed)


@pytest.mark.parametrize("length", [1, 2, 13])
@pytest.mark.parametrize("init", ["lin", "inv", "legs"])
@pytest.mark.parametrize("way", ["zoh", "bilinear"])
def test_convolution_chunks_and_recurrence_are_one(length, init, way):
    layer = S4D(3, 8, init, way).double()
    randomise(layer, 0.1)
    forms_agree(layer, torch.randn(2, length, 3, dtype=torch.float64), 1e-8)


@pytest.mark.parametrize("length", [1, 2, 13])
@pytest.mark.parametrize("taps", [1, 5, 20])
def test_convolution_by_fft_is_the_sum(length, taps):
    x, kernel = torch.randn(2, length, 3, dtype=torch.float64), torch.randn(3, taps, dtype=torch.float64)
    close(fft_conv(x, kernel), direct_conv(x, kernel))


def test_starts_are_the_papers():
    close(eigenvalues("lin", 8).imag, torch.pi * torch.arange(4.0, dtype=torch.float64))
    close(eigenvalues("inv", 8).imag[0], torch.tensor(8 / torch.pi * 7, dtype=torch.float64))
    assert (eigenvalues("legs", 8).imag > 0).all()


@pytest.mark.parametrize("wrong", [{"d_state": 7}, {"init": "hippo"}, {"discretization": "euler"}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        S4D(3, **wrong)
