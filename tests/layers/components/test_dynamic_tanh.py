"""Dynamic Tanh: the proof, bounds, the linear middle, and finite differences."""

import torch

from nexus.layers.components import DynamicTanh
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("dynamic_tanh")


def test_linear_in_the_middle_and_bounded_at_the_ends():
    layer = DynamicTanh(4, alpha=0.5).double()
    small = 1e-4 * torch.randn(3, 4, dtype=torch.float64)
    close(layer(small), 0.5 * small, 1e-11)
    assert layer(1e9 * torch.randn(3, 4).double()).abs().max() <= 1


def test_gradcheck():
    layer, x = DynamicTanh(3).double(), torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
