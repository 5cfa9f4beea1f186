"""Samba: its proof, cached decode, that it learns, and the bounded state."""

import pytest
import torch

from nexus.models.hybrid.samba import Samba, SambaConfig
from tests.state_space import decodes_as_it_trains, learns, proof_holds


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("samba", seed)


def test_it_decodes_as_it_trains():
    decodes_as_it_trains(Samba(SambaConfig.tiny()))


def test_it_learns():
    learns(Samba(SambaConfig.tiny()))


def test_its_state_does_not_grow():
    model = Samba(SambaConfig.tiny()).eval()
    with torch.no_grad():
        states = [model(torch.zeros(1, n, dtype=torch.long), model.init_state(1)).state for n in (20, 60)]
    assert states[0][1].key.shape == states[1][1].key.shape == (1, 2, 5, 8)


def test_an_unknown_plan_is_refused():
    with pytest.raises(ValueError, match="plan = 'MX' has unknown layers"):
        SambaConfig(plan="MX")
