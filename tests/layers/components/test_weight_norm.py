"""Weight normalisation: the proof, and what the paper claims."""

import torch
from torch import nn

from nexus.layers.components.weight_norm import start_from_data, weight_norm
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("weight_norm")


def test_the_direction_is_turned_never_stretched_towards_itself():
    """The gradient of v stands at a right angle to it, so a step of descent can only make v longer (section 2.1)."""
    layer = weight_norm(nn.Linear(5, 3).double())
    layer(torch.randn(7, 5, dtype=torch.float64)).square().sum().backward()
    direction = layer.get_parameter("parametrizations.weight.original1")
    close((direction * direction.grad).sum(1), torch.zeros(3, dtype=torch.float64))


def test_lengths_are_what_was_asked_for():
    layer = weight_norm(nn.Conv1d(4, 6, 3))
    length = layer.get_parameter("parametrizations.weight.original0")
    torch.nn.init.uniform_(length, 1, 2)
    close(layer.weight.flatten(1).norm(dim=1), length.flatten())


def test_it_starts_from_the_data():
    torch.manual_seed(0)
    layer, x = weight_norm(nn.Linear(9, 4)), 5 + 3 * torch.randn(200, 9)
    start_from_data(layer, x)
    close(layer(x).mean(0), torch.zeros(4), 1e-5)
    close(layer(x).var(0, correction=0), torch.ones(4), 1e-4)
