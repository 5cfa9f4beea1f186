"""The base network: indifferent to the numbering of the nodes, local, and it sorts the karate club."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nexus.data.graph import Graph
from nexus.data.graph_sets import karate_club
from nexus.models.gnn.base_gnn import BaseGNN, BaseGNNConfig, GraphAttention


def world(nodes=12, edges=40):
    draw = torch.Generator().manual_seed(0)
    pairs = torch.randint(nodes, (2, edges), generator=draw)
    attr = torch.randn(edges, 4, dtype=torch.float64, generator=draw)
    return torch.randn(nodes, 6, dtype=torch.float64, generator=draw), Graph.from_edges(pairs, nodes, attr)


def test_renumbering_the_nodes_renumbers_the_answers():
    model, (x, graph) = BaseGNN(BaseGNNConfig.tiny()).double().eval(), world()
    place = torch.randperm(12)
    moved = torch.empty_like(x)
    moved[place] = x
    torch.testing.assert_close(model(moved, graph.permuted(place))[place], model(x, graph))


def test_two_layers_see_two_steps_and_no_further():
    chain = torch.stack((torch.arange(5), torch.arange(1, 6)))
    graph = Graph.from_edges(chain, 6)
    model = BaseGNN({"d_in": 3, "d_model": 8, "d_out": 2, "n_layers": 2}).double().eval()
    x = torch.randn(6, 3, dtype=torch.float64)
    other = x.clone()
    other[0] += 1
    changed = (model(x, graph) != model(other, graph)).any(1)
    assert changed.tolist() == [True, True, True, False, False, False]


def test_faulty_layers_are_refused():
    with pytest.raises(ValueError, match="n_heads=3: must divide d_out=8"):
        GraphAttention(4, 8, 3)
    x, graph = world()
    with pytest.raises(ValueError, match="make the graph with edge_attr"):
        GraphAttention(6, 8, 2, edge_dim=4).double()(x, Graph.from_edges(graph.edge_index, 12))


def test_it_sorts_the_karate_club_from_two_known_members():
    club = karate_club()
    known = torch.tensor([0, 33])
    model = BaseGNN({"d_in": 34, "d_model": 16, "d_out": 2, "n_layers": 2, "n_heads": 2})
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
    for _ in range(60):
        loss = F.cross_entropy(model(club.x, club.graph)[known], club.y[known])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    right = (model.eval()(club.x, club.graph).argmax(-1) == club.y).double().mean()
    assert right > 0.85  # chance: 0.5
