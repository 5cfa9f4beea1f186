"""Top-k mixtures: the proof, losses at their limits, experts without tokens, and padding of shapes."""

import pytest
import torch

from nexus.layers.components import MoE
from nexus.layers.components.moe import Routing, expert_swiglu, load_balance, mixture, router_z
from tests.numerics import close, parameter_gradients
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("moe")


def test_all_experts_of_all_tokens_is_a_soft_mixture():
    moe, x = MoE(8, 12, 3, top_k=3).double(), torch.randn(5, 8, dtype=torch.float64)
    shares = moe.router(x).softmax(-1)
    weights = zip(moe.experts.gate_up, moe.experts.down, strict=True)
    answers = torch.stack([expert_swiglu(x, *own) for own in weights], dim=-1)
    close(moe(x), (answers * shares.unsqueeze(1)).sum(-1))


def test_balance_is_k_where_even_and_the_experts_where_collapsed():
    even = Routing(torch.zeros(8, 4), torch.arange(16).view(8, 2) % 4, torch.ones(8, 2))
    close(load_balance(even), torch.tensor(2.0))
    logits = torch.tensor([50.0, 0, 0, 0]).expand(8, 4)
    close(load_balance(Routing(logits, torch.zeros(8, 1, dtype=torch.long), torch.ones(8, 1))), torch.tensor(4.0))
    close(router_z(even), torch.tensor(4.0).log() ** 2)


def test_an_expert_without_tokens_gets_a_gradient_of_zeros():
    moe = MoE(8, 12, 4, top_k=1, normalise=False)
    with torch.no_grad():
        moe.router.weight.zero_()
        moe.router.weight[2] = 1.0
    gradients = parameter_gradients(moe, [moe(torch.rand(3, 2, 8))])
    assert not gradients["experts.down"][[0, 1, 3]].any()
    assert gradients["experts.down"][2].any()


def test_a_token_without_an_expert_gets_zeros():
    experts = torch.tensor([[0, 2], [2, 2], [1, 0]])  # there are two, so 2 is none
    routing = Routing(torch.zeros(3, 2), experts, torch.tensor([[1.0, 9], [9, 9], [2, 3]]))
    scales = torch.tensor([[10.0], [100.0]], requires_grad=True)
    out = mixture(torch.ones(3, 4), routing, lambda x, scale: x * scale, scales)
    assert out[:, 0].tolist() == [10, 0, 230]
    out.sum().backward()
    assert scales.grad.tolist() == [[16], [8]]


@pytest.mark.parametrize("shape", [(8,), (1, 8), (2, 3, 8), (0, 8)])
def test_any_leading_shape(shape):
    assert MoE(8, 12, 4)(torch.randn(1, *shape)).shape == (1, *shape)


def test_top_k_must_suit():
    with pytest.raises(ValueError, match="top_k=5: must be from 1 to n_experts=4"):
        MoE(8, 12, 4, 5)
