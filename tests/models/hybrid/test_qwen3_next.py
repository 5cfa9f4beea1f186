"""Qwen3Next: its proof, cached decode, that it learns, and where its layers are."""

import pytest
import torch

from nexus.models.hybrid.qwen3_next import Qwen3Next, Qwen3NextConfig
from tests.state_space import decodes_as_it_trains, learns, proof_holds


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("qwen3_next", seed)


def test_it_decodes_as_it_trains():
    decodes_as_it_trains(Qwen3Next(Qwen3NextConfig.tiny()))


def test_it_learns():
    learns(Qwen3Next(Qwen3NextConfig.tiny()))


def test_every_fourth_layer_attends():
    kinds = [type(layer.mixer).__name__ for layer in Qwen3Next(Qwen3NextConfig.tiny()).layers]
    assert kinds == ["GatedDeltaNet"] * 3 + ["GatedAttention"]


def test_experts_and_heads_must_fit():
    with pytest.raises(ValueError, match=r"(?s)delta_kv_heads.*top_k"):
        Qwen3NextConfig(delta_kv_heads=3, top_k=1000)


def test_it_generates():
    model = Qwen3Next(Qwen3NextConfig.tiny()).eval()
    prompt = torch.randint(0, 97, (1, 4))
    longer = model.generate(prompt, 3)
    assert longer.shape == (1, 7)
    for end in range(4, 7):
        assert longer[0, end] == model(longer[:, :end]).logits[0, -1].argmax()
