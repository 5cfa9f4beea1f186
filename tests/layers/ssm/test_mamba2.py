"""Mamba-2: its proof. Forms, padding and the start are tested in tests/layers/test_mamba2.py and test_ssd.py."""

import pytest
import torch

from nexus.layers.ssm import Mamba2
from tests.state_space import proof_holds


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("mamba2", seed)


def test_steps_have_a_smallest_size():
    plain, bounded = Mamba2(8, 4, 4, 6), Mamba2(8, 4, 4, 6, dt_min=10.0)
    bounded.load_state_dict(plain.state_dict())
    u = torch.randn(1, 5, 8)
    assert not torch.allclose(plain(u)[0], bounded(u)[0])
    assert torch.equal(plain(u)[0], Mamba2.forward(plain, u)[0])
