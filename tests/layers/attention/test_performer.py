"""Performer: the proof, the slope of the error, orthogonality, and decoding."""

import math

import pytest
import torch

from nexus.layers.attention import PerformerAttention
from nexus.layers.attention.performer import orthogonal_directions, softmax_features
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("performer")


def test_the_error_falls_with_the_root_of_the_number_of_features():
    q, k = 0.25 * torch.randn(2, 48, 8, dtype=torch.float64)  # longer ones need far more draws for a steady slope
    kernel = (q @ k.mT / 8**0.5).exp()
    sizes, errors = [64, 256, 1024, 4096], []
    for m in sizes:
        total = 0.0
        for seed in range(40):
            w = orthogonal_directions(m, 8, torch.Generator().manual_seed(seed)).double()
            off = softmax_features(q, w, False) @ softmax_features(k, w, False).mT - kernel
            total += float((off / kernel).square().mean())
        errors.append(0.5 * math.log(total / 40))
    x = torch.tensor([math.log(m) for m in sizes], dtype=torch.float64)
    y = torch.tensor(errors, dtype=torch.float64)
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())
    assert abs(slope + 0.5) <= 0.05


def test_directions_of_a_block_are_orthogonal_and_as_long_as_gaussians():
    w = orthogonal_directions(4000, 8, torch.Generator().manual_seed(0)).double()
    block = w[:8] / w[:8].norm(dim=-1, keepdim=True)
    close(block @ block.mT, torch.eye(8, dtype=torch.float64), 1e-6)
    assert abs(float(w.square().sum(-1).mean()) - 8) < 0.3  # E|w|^2 = d
    assert len(orthogonal_directions(11, 4)) == 11


@pytest.mark.parametrize("kernel", ["softmax", "relu"])
def test_steps_equal_the_whole(kernel):
    layer, x = PerformerAttention(16, 4, n_features=32, kernel=kernel, chunk=4), torch.randn(2, 11, 16)
    state, parts = layer.init_state(2), []
    for part in x.split([4, 1, 6], dim=1):
        y, state = layer.step(part, state)
        parts.append(y)
    close(torch.cat(parts, dim=1), layer(x, causal=True), 1e-5)
    before = layer(x)
    layer.redraw()
    assert not torch.equal(layer(x), before)
