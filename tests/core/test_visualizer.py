"""Pictures are real pictures, and the page holds them itself."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from nexus.core.nexus_core import NEXUSConfig, NEXUSCore
from nexus.core.visualizer import HierarchicalVisualizer, parts_of

PNG = b"\x89PNG"


def test_an_architecture_is_told_with_likes_together():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU())
    parts = parts_of(model)
    assert [(p.name, p.kind, p.parameters) for p in parts] == [
        ("model", "Sequential", 12),
        ("0-1", "2 x Linear", 12),
        ("2", "ReLU", 0),
    ]


def test_the_mind_is_drawn_onto_one_page(tmp_path):
    model, visualizer = NEXUSCore(NEXUSConfig.tiny()).eval(), HierarchicalVisualizer("The <mind>")
    ids = torch.randint(0, 97, (1, 10))
    state = model(ids, state=model.init_state(1))["state"]
    memory = next(layer for layer in state.layers if hasattr(layer, "anchor"))
    drawn = [
        visualizer.draw_architecture(model, tmp_path / "a.png"),
        visualizer.draw_attention(torch.rand(2, 6, 6), tmp_path / "b.png", [*"abcdef"]),
        visualizer.draw_state(memory.weights[0], tmp_path / "c.png"),
        visualizer.draw_surprise(model.memory_surprise(ids)[0, 0], tmp_path / "d.png", [str(i) for i in range(10)]),
        visualizer.draw_training({"train": [3.0, 2.0], "held out": [3.1, 2.5]}, tmp_path / "e.png"),
        visualizer.draw_rollout({"seen": torch.rand(4, 8, 8), "imagined": torch.rand(3, 8, 8)}, tmp_path / "f.png"),
    ]
    assert all(path.read_bytes().startswith(PNG) for path in drawn)
    page = visualizer.write_page(tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 6
    assert "The &lt;mind&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing from elsewhere


def test_what_cannot_be_drawn_is_named(tmp_path):
    visualizer = HierarchicalVisualizer()
    with pytest.raises(ValueError, match="nothing has been drawn"):
        visualizer.write_page(tmp_path / "page.html")
    with pytest.raises(ValueError, match="2 or 3 dimensions"):
        visualizer.draw_attention(torch.zeros(3), tmp_path / "a.png")
    with pytest.raises(ValueError, match="nothing to draw"):
        visualizer.draw_training([], tmp_path / "a.png")
