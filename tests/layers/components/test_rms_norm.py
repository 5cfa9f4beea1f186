"""RMSNorm: the proof, Gemma's form on all three paths, half precision, and finite differences."""

import pytest
import torch
from torch import nn

from nexus.layers.components import RMSNorm
from tests.numerics import close, randomise
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("rms_norm")


@pytest.mark.parametrize("length", [1, 5])
def test_the_offset_is_on_every_path(length):
    norm, x = RMSNorm(6, unit_offset=True).double(), torch.randn(2, length, 6, dtype=torch.float64)
    randomise(norm)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + norm.weight)
    close(norm(x), expected.detach())
    with torch.no_grad():
        close(norm(x), expected.detach())


@torch.no_grad()
def test_bfloat16_is_no_worse_than_torchs_without_gradients_and_close_to_it_with():
    x = torch.randn(64, 256)
    exact, half = RMSNorm(256)(x), x.bfloat16()
    theirs = (nn.RMSNorm(256, eps=1e-6).bfloat16()(half).float() - exact).abs().mean()
    ours = RMSNorm(256).bfloat16()
    assert (ours(half).float() - exact).abs().mean() <= 1.1 * theirs
    with torch.enable_grad():  # in training the scale is rounded too, which saves a pass over the input in float32
        assert (ours(half).float() - exact).abs().mean() <= 2.5 * theirs


def test_gradcheck():
    norm, x = RMSNorm(4).double(), torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))


def test_the_length_of_the_input_does_not_matter_and_its_gradient_is_orthogonal_to_it():
    norm, x = RMSNorm(8, eps=0.0).double(), torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    close(norm(100 * x), norm(x))
    (gradient,) = torch.autograd.grad((norm(x) * torch.randn(3, 8, dtype=torch.float64)).sum(), x)
    close((gradient * x).sum(-1), torch.zeros(3, dtype=torch.float64))
