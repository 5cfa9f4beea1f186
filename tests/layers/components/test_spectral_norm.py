"""Spectral normalisation: the proof, and what the paper claims."""

import torch
from torch import nn

from nexus.layers.components.spectral_norm import spectral_norm
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("spectral_norm")


def test_a_layer_stretches_no_difference():
    torch.manual_seed(0)
    layer = spectral_norm(nn.Linear(8, 6, bias=False))
    for _ in range(200):
        layer(torch.zeros(1, 8))
    x, y = torch.randn(2, 100, 8)
    assert ((layer(x) - layer(y)).norm(dim=1) <= (x - y).norm(dim=1) * (1 + 1e-5)).all()


def test_one_step_a_call_keeps_up_with_a_weight_that_learns():
    torch.manual_seed(0)
    layer = spectral_norm(nn.Linear(8, 6))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (layer(torch.randn(16, 8)) - 1).square().mean().backward()
        optimizer.step()
    close(torch.linalg.matrix_norm(layer.weight, 2), torch.ones(()), 0.02)


def test_in_use_nothing_moves():
    layer = spectral_norm(nn.Linear(4, 3)).eval()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(torch.randn(2, 4))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
