"""GATv2: its ranking of neighbours depends on who asks, which solves a task that the static order cannot."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nexus.data.graph import Graph
from nexus.data.graph_sets import dictionary_lookup
from nexus.models.gnn.gatv2 import GATv2, GATv2Layer

ALL = torch.cartesian_prod(torch.arange(5), torch.arange(5)).t()


def favourites(attention):
    """Which of five keys each of five queries attends to most, over a complete graph."""
    torch.manual_seed(3)
    layer = GATv2Layer(8, 16, 1, attention=attention, self_loops=False)
    graph, x = Graph.from_edges(ALL, 5), 3 * torch.randn(5, 8)
    with torch.no_grad():
        weight = layer.weights(layer.left_proj(x), layer.right_proj(x), graph)
    return weight.view(5, 5).argmax(1)


def test_static_attention_has_one_favourite_and_dynamic_has_several():
    assert len(favourites("static").unique()) == 1  # theorem 1 of the paper
    assert len(favourites("dynamic").unique()) > 1


def test_weights_add_up_to_one():
    layer, graph = GATv2Layer(8, 16, 4), Graph.from_edges(ALL, 5)
    x = torch.randn(5, 8)
    weight = layer.weights(layer.left_proj(x), layer.right_proj(x), graph)
    torch.testing.assert_close(weight.view(5, 5, 4).sum(1), torch.ones(5, 4))


def test_forward_keeps_no_vector_for_each_edge():
    nodes, edges, width = 50, 4_000, 64
    graph = Graph.from_edges(torch.randint(nodes, (2, edges)), nodes)
    layer = GATv2Layer(width, width, 4, self_loops=False)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        layer(torch.randn(nodes, width), graph)
    assert max(kept) < edges * width / 8  # at most the weights, edges * heads


def test_edges_without_promised_features_are_refused():
    with pytest.raises(ValueError, match="make the graph with edge_attr"):
        GATv2Layer(8, 16, edge_dim=3)(torch.randn(5, 8), Graph.from_edges(ALL, 5))
    with pytest.raises(ValueError, match="n_heads=3: must divide d_out=16"):
        GATv2Layer(8, 16, 3)


@pytest.mark.parametrize(("attention", "solved"), [("dynamic", True), ("static", False)])
def test_lookup_by_key(attention, solved):
    size = 6
    sets = [dictionary_lookup(size, seed) for seed in range(60)]
    x = F.one_hot(torch.stack([s.x for s in sets]), size + 1).flatten(2).float()
    y = torch.stack([s.y for s in sets])
    train, test = (Graph.batch([s.graph for s in part]) for part in (sets[:40], sets[40:]))
    model = GATv2(
        {"d_in": 2 * size + 2, "d_out": 64, "n_layers": 1, "n_heads": 1, "attention": attention, "self_loops": False}
    )
    head = torch.nn.Linear(64, size)
    optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(200):
        loss = F.cross_entropy(head(model(x[:40].flatten(0, 1), train)), y[:40].flatten(), ignore_index=-1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = head(model(x[40:].flatten(0, 1), test)).argmax(-1).view(20, -1)[:, size:]
    right = float((found == y[40:, size:]).double().mean())
    assert right == 1.0 if solved else right < 0.7
