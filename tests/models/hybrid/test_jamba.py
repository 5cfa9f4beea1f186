"""Jamba: its proof, cached decode, that it learns, and where its layers are."""

import pytest
import torch

from nexus.models.hybrid.jamba import Jamba, JambaConfig
from tests.state_space import decodes_as_it_trains, learns, proof_holds


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("jamba", seed)


def test_it_decodes_as_it_trains():
    decodes_as_it_trains(Jamba(JambaConfig.tiny()))


def test_it_learns():
    learns(Jamba(JambaConfig.tiny()))


def test_one_layer_in_eight_attends_and_one_in_two_has_experts():
    assert JambaConfig().layers[:8] == "MMMMAMMM"
    model = Jamba(JambaConfig.tiny())
    assert [type(layer.ffn).__name__ for layer in model.layers] == ["GatedMLP", "MoE"] * 2


def test_all_faults_are_named_at_once():
    with pytest.raises(ValueError, match=r"(?s)n_kv_heads.*top_k"):
        JambaConfig(n_heads=4, n_kv_heads=3, top_k=99)


def test_it_saves_and_loads(tmp_path):
    model = Jamba(JambaConfig.tiny()).eval()
    ids = torch.randint(0, 97, (1, 5))
    assert torch.equal(Jamba.load(model.save(tmp_path))(ids).logits, model(ids).logits)
