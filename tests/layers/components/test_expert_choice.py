"""Expert choice: the proof, perfect balance, and no order among tokens."""

import pytest
import torch

from nexus.layers.components import ExpertChoiceMoE
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("expert_choice")


@pytest.mark.parametrize("tokens", [4, 13, 64])
def test_every_expert_has_the_same_load(tokens):
    moe = ExpertChoiceMoE(8, 12, 4, 1.5)
    weights, picked = moe.picks(torch.randn(tokens, 8))
    assert picked.shape == weights.shape == (4, int(tokens * 1.5 / 4))
    assert all(len(row.unique()) == len(row) for row in picked)


def test_tokens_may_come_in_any_order():
    moe, x, order = ExpertChoiceMoE(8, 12, 4).double(), torch.randn(13, 8, dtype=torch.float64), torch.randperm(13)
    close(moe(x[order]), moe(x)[order])


def test_a_token_that_nobody_picks_gets_zeros():
    moe, x = ExpertChoiceMoE(8, 12, 2, 0.5), torch.randn(16, 8)
    _, picked = moe.picks(x)
    lonely = [t for t in range(16) if t not in picked.flatten().tolist()]
    assert lonely
    assert not moe(x)[lonely].any()
