"""Activations: the proof, the tail that others lose, names, and second derivatives."""

import pytest
import torch
from torch.nn import functional as F

from nexus.layers.components import GELU
from nexus.layers.components import gelu as family
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("gelu")


def test_the_tail_is_kept_where_the_common_formula_loses_it():
    x = torch.tensor([-9.0, -15.0, -30.0], dtype=torch.float64)
    assert (family.gelu(x) < 0).all()
    assert not F.gelu(x).any()


@pytest.mark.parametrize("name", sorted(family.ACTIVATIONS))
def test_large_inputs_are_finite_with_their_gradients(name):
    x = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    y = GELU(name)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "gelu_quick", "silu", "mish", "selu"])
def test_second_derivatives_by_finite_differences(name):
    x = torch.linspace(-3, 3, 7, dtype=torch.float64).add(0.01).requires_grad_()
    assert torch.autograd.gradgradcheck(family.activation(name), (x,))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"activation='gelo'.*gelu_tanh"):
        GELU("gelo")
