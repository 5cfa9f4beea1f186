"""Soft mixtures: the proof, means that are means, and invariance to the tokens' length when normalised."""

import torch

from nexus.layers.components import SoftMoE
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("soft_moe")


def test_tokens_may_come_in_any_order():
    moe, x, order = SoftMoE(8, 12, 4, 2).double(), torch.randn(1, 13, 8, dtype=torch.float64), torch.randperm(13)
    close(moe(x[:, order]), moe(x)[:, order])


def test_with_one_expert_that_is_the_identity_tokens_become_their_mean():
    moe, x = SoftMoE(8, 8, 1, 1, normalise=False).double(), 30 + torch.rand(1, 5, 8, dtype=torch.float64)
    with torch.no_grad():
        moe.phi.zero_()
        moe.up.copy_(torch.eye(8))
        moe.down.copy_(torch.eye(8))  # GELU is the identity far above zero
    close(moe(x), x.mean(1, keepdim=True).expand_as(x))


def test_normalised_logits_do_not_know_lengths():
    moe, x = SoftMoE(8, 12, 4).double(), torch.randn(2, 5, 8, dtype=torch.float64)
    close(moe.logits(7 * x), moe.logits(x))
