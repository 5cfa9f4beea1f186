"""Settling on one window, or on none, changes where numbers stand and not what comes out."""

import pytest
import torch

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.core.windows import settle_window, without_windows

CHOICES = (0, 3, 5)


@pytest.fixture
def model() -> HybridLM:
    torch.manual_seed(0)
    model = HybridLM(HybridConfig.tiny(plan="WWMA", window=5, window_choices=CHOICES)).eval()
    with torch.no_grad():
        for block in model.backbone.blocks[:2]:
            block.mixer.mamba_gain.copy_(torch.tensor([0.5, 0.7, 0.9]))
            block.mixer.attention_gain.copy_(torch.tensor([1.0, 1.3, 0.8]))
    return model


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(97, (2, 13), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("window", CHOICES)
def test_a_settled_model_says_the_same(model, ids, window):
    model.set_window(window)
    settled = settle_window(model, window)
    torch.testing.assert_close(settled(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-5)
    assert settled.config.layers == ("MMMA" if window == 0 else "WWMA")
    assert settled.config.window_choices == ()


def test_only_a_choice_can_be_settled_on(model):
    with pytest.raises(ValueError, match="window=4"):
        settle_window(model, 4)


def test_without_windows_leaves_the_gains_out(model, ids):
    bare = without_windows(model)
    assert bare.config.layers == "MMMA"
    model.set_window(0)
    assert not torch.allclose(bare(ids).logits, model(ids).logits, atol=1e-4)  # there the gain is 0.5
    with torch.no_grad():
        for block in model.backbone.blocks[:2]:
            block.mixer.mamba_gain[0] = 1.0
    torch.testing.assert_close(bare(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-5)


def test_without_windows_is_a_copy(model):
    bare = without_windows(model)
    with torch.no_grad():
        bare.backbone.norm.weight.zero_()
    assert model.backbone.norm.weight.abs().min() > 0
