"""Switch and GShard: the proof, exact drops at each capacity, and independence of the batch."""

import pytest
import torch

from nexus.layers.components import SwitchMoE
from nexus.layers.components.switch_moe import switch_balance
from nexus.zoo.cost import flops_of
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("switch_moe", (0, 1))


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("capacity", range(1, 14))
def test_dropped_choices_are_counted_exactly(capacity, top_k):
    moe, x = SwitchMoE(8, 12, 4, top_k, capacity=capacity), torch.randn(3, 13, 8)
    dispatch = moe.route(x)
    over = 0
    for row in dispatch.experts:
        counts = row.flatten().bincount(minlength=4)
        over += int((counts - capacity).clamp(min=0).sum())
    assert moe.dropped(dispatch) == over
    if top_k == 1:
        unseated = (dispatch.place >= capacity).squeeze(-1)
        assert not moe(x)[unseated].any()


@pytest.mark.parametrize("capacity", [1, 3, 13])
def test_neither_empty_places_nor_dropped_choices_are_worked_on(capacity):
    moe, x = SwitchMoE(8, 12, 4, capacity=capacity), torch.randn(3, 13, 8)
    kept = 3 * 13 - moe.dropped(moe.route(x))
    assert flops_of(lambda: moe(x)) == 2 * 8 * (3 * 13 * 4 + kept * 2 * 12)


def test_a_text_does_not_depend_on_its_batch():
    moe, x = SwitchMoE(8, 12, 4, 2, capacity_factor=0.5).double(), torch.randn(3, 11, 8, dtype=torch.float64)
    close(moe(x), torch.cat([moe(row) for row in x.split(1)]))


def test_capacity_is_the_papers():
    assert SwitchMoE(8, 12, 8, capacity_factor=1.25).places(100) == 16  # 100 / 8 * 1.25 = 15.6
    with pytest.raises(ValueError, match="top_k=3"):
        SwitchMoE(8, 12, 4, 3)


def test_balance_is_one_where_even():
    moe = SwitchMoE(4, 4, 4)
    with torch.no_grad():
        moe.router.weight.copy_(1e-6 * torch.eye(4))
    close(switch_balance(moe.route(torch.eye(4)[None])), torch.tensor(1.0), 1e-5)
