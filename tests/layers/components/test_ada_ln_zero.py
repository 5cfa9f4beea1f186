"""AdaLN-Zero: the proof, the identity at the start, other widths, and any number of branches."""

import torch
from torch import nn
from torch.nn import functional as F

from nexus.layers.components import AdaLNZero
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("ada_ln_zero")


def test_a_block_starts_as_the_identity_and_leaves_it():
    ada, branch, x, c = AdaLNZero(8, 5), nn.Linear(8, 8), torch.randn(2, 7, 8), torch.randn(2, 5)
    first, second = ada(c)
    assert torch.equal(x + first.gate * branch(ada.norm(x, first)), x)
    assert torch.equal(ada.norm(x, second), F.layer_norm(x, (8,), eps=1e-6))
    ((x + first.gate * branch(ada.norm(x, first))).square().sum()).backward()
    rows = ada.proj.weight.grad.view(2, 3, 8, 5).abs().sum((2, 3))
    assert rows[0, 2] > 0  # the gate learns at once, so the rest can follow
    assert not rows[0, :2].any()


def test_the_condition_is_per_sample_and_branches_are_apart():
    ada = AdaLNZero(8, branches=3).double()
    nn.init.normal_(ada.proj.weight)
    c = torch.randn(2, 8, dtype=torch.float64)
    parts = ada(c)
    assert len(parts) == 3
    alone = ada(c[1:])
    for one, other in zip(parts, alone, strict=True):
        close(one.scale[1:], other.scale)
    assert not torch.equal(parts[0].shift, parts[1].shift)
