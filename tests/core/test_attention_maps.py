"""The weights that are caught are those that were used, and pictures can be made of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nexus.core.attention_maps import attention_maps
from nexus.core.memory import TitansMemory
from nexus.core.nexus_core import NEXUSConfig, NEXUSCore
from nexus.core.visualizer import HierarchicalVisualizer
from tests.numerics import close


class Attends(nn.Module):
    """Torch's attention with any of its options, values apart."""

    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, **self.options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"enable_gqa": True},
        {"attn_mask": torch.ones(5, 5, dtype=torch.bool).triu(-2).tril(1)},
        {"attn_mask": torch.randn(5, 5, generator=torch.Generator().manual_seed(0))},
    ],
)
def test_the_weights_times_the_values_are_what_attention_gives(options):
    module = Attends(**options)
    q, k, v = torch.randn(2, 4, 5, 8), *torch.randn(2, 2, 2 if "enable_gqa" in options else 4, 5, 8)
    (weights,) = attention_maps(module, q, k, v)
    close(weights @ v.repeat_interleave(4 // v.shape[1], dim=1), module(q, k, v), 1e-5)


def test_the_mind_shows_a_map_for_each_layer_that_attends(tmp_path):
    model = NEXUSCore(NEXUSConfig.tiny()).eval()
    assert model.config.layers == "MWTMA"
    maps = attention_maps(model, torch.randint(97, (1, 4)))
    assert [tuple(each.shape) for each in maps][-1] == (1, 4, 4, 4)
    assert all(torch.allclose(each.sum(-1), torch.ones(())) for each in maps)
    assert maps[-1].triu(1).eq(0).all()
    assert HierarchicalVisualizer().draw_attention(maps[-1][0], tmp_path / "a.png").stat().st_size > 1000


def test_a_module_without_attention_is_named_and_a_memory_shows_its_window():
    with pytest.raises(ValueError, match="no attention was used in Linear"):
        attention_maps(nn.Linear(2, 2), torch.zeros(1, 2))
    maps = attention_maps(TitansMemory.tiny(), torch.randn(1, 4, 32))
    assert maps[0].shape == (1, 2, 4, 2 + 8 + 4)  # persistent tokens, an empty window, and the chunk itself
