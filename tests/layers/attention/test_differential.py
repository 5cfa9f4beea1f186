"""Differential attention: the proof, weights that cancel, and causality."""

import math

import pytest
import torch

from nexus.layers.attention import DifferentialAttention
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("differential", (0, 1))


def test_equal_maps_cancel_when_lambda_is_one():
    layer = DifferentialAttention(16, 2, norm_weight=False).double()
    with torch.no_grad():
        q, k, _ = layer.qkv_proj.weight.chunk(3)
        for part in (q, k):
            part[8:] = part[:8]  # both maps alike
        layer.lambdas.zero_()
        layer.lambdas[:2, 0] = torch.tensor([math.log(1.5), 1.0], dtype=torch.float64)
    layer.lambda_init = 0.5
    assert math.isclose(layer.factor().item(), 1.0, abs_tol=1e-12)  # 1.5 - 1 + 0.5
    x = torch.randn(1, 7, 16, dtype=torch.float64)
    assert layer(x).abs().max() < 1e-9


def test_the_future_does_not_matter():
    layer, x = DifferentialAttention(16, 2, depth=2), torch.randn(1, 9, 16)
    changed = torch.cat((x[:, :4], torch.randn(1, 5, 16)), dim=1)
    close(layer(x)[:, :4], layer(changed)[:, :4], 1e-6)
    assert not torch.allclose(layer(x, causal=False)[:, :4], layer(changed, causal=False)[:, :4])


def test_width_must_suit():
    with pytest.raises(ValueError, match=r"2 n_heads must divide d_model=12"):
        DifferentialAttention(12, 4)
