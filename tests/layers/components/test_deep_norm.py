"""DeepNorm: the proof from frozen values, the paper's factors, and a thousand layers."""

import math

import pytest
import torch
from torch import nn

from nexus.layers.components import DeepNorm
from nexus.layers.components.deep_norm import depth_scale, shrink
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("deep_norm", (0,))


@pytest.mark.parametrize("layers", [1, 18, 1000])
def test_alpha_and_beta_balance(layers):
    scale = depth_scale(layers)
    # beta^4 = 1 / (8 N): the deeper the stack, the smaller the start
    assert math.isclose(scale.beta**4 * 8 * layers, 1.0)
    assert math.isclose(scale.alpha**4, 2 * layers)
    assert depth_scale(6, 6) != depth_scale(6, 6, encoder=False)


def test_a_thousand_layers_start_and_learn():
    layers = 1000
    scale = depth_scale(layers)
    blocks, joins = [nn.Linear(8, 8) for _ in range(layers)], [DeepNorm(8, scale.alpha) for _ in range(layers)]
    shrink((block.weight for block in blocks), scale.beta)
    x = torch.randn(16, 8)
    h = x
    for block, join in zip(blocks, joins, strict=True):
        h = join(h, block(h))
    h.square().mean().backward()
    assert h.isfinite().all()
    assert h.std() > 0.1
    first = blocks[0].weight.grad
    assert first.isfinite().all()
