"""Group normalisation: the proof, half precision, finite differences, and what is refused."""

import pytest
import torch
from torch import nn

from nexus.layers.components import GroupNorm
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("group_norm")


def test_one_group_is_layer_norm_over_everything():
    x = torch.randn(3, 6, 5, dtype=torch.float64)
    close(GroupNorm(1, 6, affine=False)(x), nn.functional.layer_norm(x, (6, 5)))


def test_bfloat16_is_no_worse_than_torchs():
    x = torch.randn(8, 16, 9, 9)
    exact = nn.functional.group_norm(x, 4)
    half = x.bfloat16()
    ours = (GroupNorm(4, 16).bfloat16()(half).float() - exact).abs()
    theirs = (nn.GroupNorm(4, 16).bfloat16()(half).float() - exact).abs()
    assert ours.mean() <= 1.1 * theirs.mean()


def test_a_large_mean_does_not_eat_the_digits():
    x = 1e4 + torch.randn(2, 4, 50)
    exact = nn.functional.group_norm(x.double(), 2)
    close(GroupNorm(2, 4, affine=False)(x).double(), exact, 2e-3)


def test_gradcheck():
    norm, x = GroupNorm(2, 4).double(), torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))


def test_channels_must_suit():
    with pytest.raises(ValueError, match="n_groups=4: must divide channels=6"):
        GroupNorm(4, 6)
    with pytest.raises(ValueError, match="needs 6 channels"):
        GroupNorm(3, 6)(torch.randn(2, 5, 6))
