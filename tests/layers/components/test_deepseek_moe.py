"""DeepSeekMoE: the proof, balance by bias, and groups."""

import pytest
import torch

from nexus.layers.components import DeepSeekMoE
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("deepseek_moe")


def test_the_bias_evens_out_the_load():
    torch.manual_seed(1)
    moe, x = DeepSeekMoE(16, 8, 8, 2), torch.randn(512, 16) + 0.5
    loads = []
    for _ in range(400):
        routing = moe.route(x)
        loads.append(routing.experts.flatten().bincount(minlength=8).float())
        moe.balance(routing, 2e-3)
    assert loads[-1].std() < 0.2 * loads[0].std()
    assert "load_bias" in moe.state_dict()
    assert "load_bias" not in dict(moe.named_parameters())


def test_only_the_best_groups_are_picked():
    moe, x = DeepSeekMoE(8, 6, 12, 4, n_groups=4, top_groups=2), torch.randn(50, 8)
    groups = moe.route(x).experts // 3
    assert all(len(row.unique()) <= 2 for row in groups)


def test_the_bias_picks_but_does_not_weigh():
    moe, x = DeepSeekMoE(8, 6, 4, 4).double(), torch.randn(9, 8, dtype=torch.float64)
    before = moe(x)
    moe.load_bias.copy_(torch.randn(4))
    close(moe(x), before)  # all four are picked anyhow


def test_sizes_must_suit():
    with pytest.raises(ValueError, match="n_groups=3"):
        DeepSeekMoE(8, 6, 8, 2, n_groups=3)
    with pytest.raises(ValueError, match="top_k=5"):
        DeepSeekMoE(8, 6, 8, 5, n_groups=2, top_groups=1)
