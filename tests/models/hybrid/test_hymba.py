"""Hymba: its proof, cached decode, that it learns, and its learnt tokens and shared keys."""

import pytest
import torch

from nexus.models.hybrid.hymba import Hymba, HymbaConfig
from tests.state_space import decodes_as_it_trains, learns, proof_holds


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("hymba", seed)


def test_it_decodes_as_it_trains():
    decodes_as_it_trains(Hymba(HymbaConfig.tiny()))


def test_it_learns():
    learns(Hymba(HymbaConfig.tiny()))


def test_neighbours_share_keys():
    model = Hymba(HymbaConfig.tiny())
    assert [hasattr(layer.mixer.attention, "k_proj") for layer in model.layers] == [True, True, False, True]
    state = model.init_state(1)
    assert [part.attention is None for part in state] == [False, False, True, False]


def test_learnt_tokens_are_read_first_and_stay_visible():
    model = Hymba(HymbaConfig.tiny()).eval()
    state = model.init_state(1)
    assert state[1].attention.position == 2
    with torch.no_grad():
        after = model(torch.zeros(1, 30, dtype=torch.long), state).state
    assert after[1].attention.key.shape[2] == 2 + 5
    assert torch.equal(after[1].attention.key[:, :, :2], state[1].attention.key)


def test_a_layer_must_have_a_neighbour_to_borrow_from():
    with pytest.raises(ValueError, match="plan = 'lG' is not understood"):
        HymbaConfig.tiny().replace(plan="lG")
