"""Bamba: its proof, cached decode, that it learns, and that it is the backbone."""

import pytest
import torch

from nexus.models.hybrid.bamba import Bamba, BambaConfig
from tests.state_space import decodes_as_it_trains, learns, proof_holds


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("bamba", seed)


def test_it_decodes_as_it_trains():
    decodes_as_it_trains(Bamba(BambaConfig.tiny()))


def test_it_learns():
    learns(Bamba(BambaConfig.tiny()))


def test_it_is_the_backbone():
    from nexus.core.state_space import HybridLM
    from nexus.models.hybrid.bamba import granite

    assert issubclass(Bamba, HybridLM)
    assert [i for i, kind in enumerate(BambaConfig().layers) if kind == "A"] == [9, 18, 27]
    assert granite().rotary_fraction == 1.0
    assert granite().tie_embeddings


def test_it_saves_and_loads(tmp_path):
    model = Bamba(BambaConfig.tiny()).eval()
    ids = torch.randint(0, 97, (1, 5))
    assert torch.equal(Bamba.load(model.save(tmp_path))(ids).logits, model(ids).logits)
