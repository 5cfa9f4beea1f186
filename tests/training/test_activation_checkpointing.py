"""Recomputed activations give the same numbers, with less memory."""

import pytest
import torch
from torch import nn

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.training.activation_checkpointing import ActivationCheckpointing, enable


class Stack(nn.Module):
    def __init__(self, depth=6):
        super().__init__()
        make = lambda: nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Dropout(0.2), nn.Linear(64, 16))  # noqa: E731
        self.blocks = nn.ModuleList(make() for _ in range(depth))

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


def held(model):
    """Bytes that autograd keeps for backward, and the gradients."""
    kept = []
    torch.manual_seed(1)
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(2)).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        y = model(x)
    y.square().sum().backward()
    return sum(kept), y.detach(), [p.grad.clone() for p in model.parameters()], x.grad


def test_same_numbers_and_less_memory():
    torch.manual_seed(0)
    plain = Stack()
    torch.manual_seed(0)
    saving = Stack()
    assert enable(saving) == [f"blocks.{i}" for i in range(6)]
    assert saving.state_dict().keys() == plain.state_dict().keys()
    (much, y, gradients, dx), (little, other_y, other_gradients, other_dx) = held(plain), held(saving)
    assert torch.equal(y, other_y)
    assert torch.equal(dx, other_dx)
    assert all(torch.equal(a, b) for a, b in zip(gradients, other_gradients, strict=True))
    assert little < 0.2 * much


def test_a_models_own_switch_is_used():
    model = HybridLM(HybridConfig.tiny(plan="AM", n_layers=2))
    assert enable(model) == ["backbone"]
    assert model.backbone.gradient_checkpointing


def test_one_part_can_be_wrapped():
    part = ActivationCheckpointing(nn.Linear(2, 2))
    part(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert part.block.weight.grad is not None
    with pytest.raises(ValueError, match="no list of blocks"):
        enable(nn.Linear(2, 2))
