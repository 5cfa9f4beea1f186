"""Griffin: its proof, cached decode, that it learns, and the bounded state."""

import pytest
import torch

from nexus.models.hybrid.griffin import Griffin, GriffinConfig
from tests.state_space import decodes_as_it_trains, learns, proof_holds


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("griffin", seed)


def test_it_decodes_as_it_trains():
    decodes_as_it_trains(Griffin(GriffinConfig.tiny()))


def test_it_learns():
    learns(Griffin(GriffinConfig.tiny()))


def test_its_state_does_not_grow():
    model = Griffin(GriffinConfig.tiny()).eval()
    with torch.no_grad():
        short = model(torch.zeros(1, 20, dtype=torch.long), model.init_state(1)).state
        long = model(torch.zeros(1, 60, dtype=torch.long), model.init_state(1)).state
    assert short[2].key.shape == long[2].key.shape == (1, 1, 5, 16)


def test_logits_stay_below_the_cap():
    model = Griffin(GriffinConfig.tiny())
    with torch.no_grad():
        model.lm_head.weight.mul_(1e4)
        assert model(torch.randint(0, 97, (1, 5))).logits.abs().max() <= 30


def test_hawk_is_the_plan_without_attention():
    model = Griffin(GriffinConfig.tiny().replace(plan="R"))
    assert {type(layer.mixer).__name__ for layer in model.layers} == {"RecurrentBlock"}


def test_an_unknown_plan_is_refused():
    with pytest.raises(ValueError, match="plan = 'RX' has unknown layer kinds"):
        GriffinConfig(plan="RX")
