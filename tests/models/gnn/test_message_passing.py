"""Message passing: the depth distribution, what is cut off, and a task whose answer is far away."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nexus.data.graph import Graph
from nexus.data.graph_sets import relay
from nexus.models.gnn.message_passing import AdaptiveMessagePassing, DepthDistribution, MessagePassing


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (3.0, 0.6), (8.0, 4.0)])
def test_the_depth_is_a_distribution_and_its_expectation_follows_the_mean(mean, scale):
    depth = DepthDistribution(12, mean, scale)
    assert depth.scale.item() == pytest.approx(scale, abs=1e-3)
    q = depth().detach()
    assert float(q.sum()) == pytest.approx(1.0)
    assert (q > 0).all()
    draws = (torch.randn(200_000, generator=torch.Generator().manual_seed(0)) * scale + mean).abs().floor()
    kept = draws[draws < 12]
    assert depth.expected().item() == pytest.approx(float(kept.mean()) + 1, abs=0.03)


def test_rounds_beyond_the_quantile_are_not_run():
    model = AdaptiveMessagePassing({"d_in": 2, "n_layers": 20, "depth_mean": 2.0, "depth_scale": 1.0, "quantile": 0.9})
    graph = Graph.from_edges(torch.tensor([[0, 1], [1, 0]]), 2)
    rounds = model.depth.rounds(0.9)
    assert 3 <= rounds <= 5
    assert len(model.answers(torch.zeros(2, 2), graph)) == rounds
    total = model.depth().cumsum(0)
    assert total[rounds - 1] >= 0.9 > total[rounds - 2]


def test_the_penalty_pulls_towards_the_prior_and_is_zero_there():
    at_prior = AdaptiveMessagePassing(
        {"d_in": 2, "n_layers": 6, "depth_mean": 2.0, "depth_scale": 1.5, "prior_mean": 2.0, "prior_scale": 1.5}
    )
    assert at_prior.depth_penalty().item() == pytest.approx(0.0, abs=1e-6)
    deeper = AdaptiveMessagePassing(
        {"d_in": 2, "n_layers": 6, "depth_mean": 4.0, "depth_scale": 1.5, "prior_mean": 1.0, "prior_scale": 1.5}
    )
    penalty = deeper.depth_penalty()
    penalty.backward()
    assert penalty.item() > 0
    assert float(deeper.depth.mean.grad) > 0  # downhill is shallower


def test_a_closed_filter_lets_nothing_pass():
    layer, graph = MessagePassing(4), Graph.from_edges(torch.tensor([[0, 1], [1, 0]]), 2)
    x = torch.randn(2, 4)
    torch.testing.assert_close(layer(x, graph, torch.zeros(2, 4)), layer.self_proj(x))


def test_gated_messages_are_only_added_up():
    with pytest.raises(ValueError, match="use 'sum' or message='linear'"):
        MessagePassing(4, "gated", "max")


def test_it_carries_a_bit_as_far_as_it_must():
    world, test = relay(3, 40, seed=0), relay(3, 80, seed=1)
    model = AdaptiveMessagePassing({"d_in": 3, "d_model": 16, "d_out": 2, "n_layers": 6, "depth_mean": 2.0})
    before = model.depth.expected().item()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(120):
        loss = F.cross_entropy(model(world.x, world.graph), world.y, ignore_index=-1) + model.depth_penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    known = test.y >= 0
    right = (model(test.x, test.graph)[known].argmax(-1) == test.y[known]).double().mean()
    assert right == 1.0
    assert model.depth.expected().item() > before
