"""GPS: encodings that mean what they say, indifference to signs and batches, and a task that needs the encodings."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nexus.data.graph import Graph
from nexus.data.graph_sets import skip_links
from nexus.models.gnn import _encodings as encodings
from nexus.models.gnn.gps import GPS, GPSConfig, GPSLayer
from nexus.zoo.proofs.gps import undirected


def ring(size):
    around = torch.stack((torch.arange(size), (torch.arange(size) + 1) % size))
    return Graph.from_edges(torch.cat((around, around.flip(0)), dim=1), size)


def test_a_walk_on_a_ring_returns_as_often_as_the_binomial_says():
    walk = encodings.random_walk_encoding(ring(9), 4, torch.float64)
    torch.testing.assert_close(walk[0], torch.tensor([0.0, 0.5, 0.0, 0.375], dtype=torch.float64))
    assert torch.equal(walk, walk[:1].expand_as(walk))


def test_the_walks_of_a_batch_and_in_blocks_are_those_of_each_graph(monkeypatch):
    graphs = [ring(5), ring(9), ring(4)]
    apart = torch.cat([encodings.random_walk_encoding(g, 6) for g in graphs])
    monkeypatch.setattr(encodings, "BLOCK", 2)
    torch.testing.assert_close(encodings.random_walk_encoding(Graph.batch(graphs), 6), apart)


def test_the_eigenvalues_of_a_ring_are_known():
    pairs = encodings.laplacian_encoding(ring(8), 4, torch.float64)
    expected = 1 - torch.cos(2 * torch.pi * torch.tensor([1, 1, 2, 2], dtype=torch.float64) / 8)
    torch.testing.assert_close(pairs[0, :, 1], expected)


def test_large_graphs_give_the_same_by_the_sparse_way(monkeypatch):
    graph = undirected(1, 1)
    dense = encodings.laplacian_encoding(graph, 2, torch.float64)
    monkeypatch.setattr(encodings, "DENSE_LIMIT", 0)
    sparse = encodings.laplacian_encoding(graph, 2, torch.float64)
    torch.testing.assert_close(sparse[:, :, 1], dense[:, :, 1])
    torch.testing.assert_close(sparse[:, :, 0].abs(), dense[:, :, 0].abs())


def test_small_graphs_are_filled_up_and_one_way_edges_refused():
    pairs = encodings.laplacian_encoding(ring(3), 5)
    assert pairs.shape == (3, 5, 2)
    assert not pairs[:, 2:].any()
    with pytest.raises(ValueError, match=r"use graph.undirected\(\)"):
        encodings.laplacian_encoding(Graph.from_edges(torch.tensor([[0], [1]]), 2), 1)


def inputs_of(graph, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(graph.n_nodes, 6, generator=draw)
    return x, encodings.random_walk_encoding(graph, 5), encodings.laplacian_encoding(graph, 3)


def test_turning_the_sign_of_an_eigenvector_changes_nothing():
    graph = undirected(0)
    model = GPS(GPSConfig.tiny(edge_dim=0)).eval()
    x, walk, pairs = inputs_of(graph)
    turned = pairs * torch.tensor([[-1.0, 1.0], [1.0, 1.0], [-1.0, 1.0]])
    assert torch.equal(model(x, graph, walk, pairs), model(x, graph, walk, turned))


def test_a_graph_gets_the_same_answer_alone_and_in_a_batch():
    graph = undirected(0)
    model = GPS(GPSConfig.tiny(edge_dim=0, norm="layer")).eval()
    x, walk, pairs = inputs_of(graph)
    whole = model(x, graph, walk, pairs)
    first = int(graph.node_ptr[1])
    inside = graph.dst < first
    alone = Graph.from_edges(graph.edge_index[:, inside], first)
    torch.testing.assert_close(model(x[:first], alone, walk[:first], pairs[:first]), whole[:1])


def test_exactly_the_encodings_of_the_configuration_are_taken():
    graph, model = ring(5), GPS(GPSConfig.tiny(edge_dim=0, laplacian_k=0))
    x, walk, pairs = inputs_of(graph)
    with pytest.raises(ValueError, match="walk is missing"):
        model(x, graph)
    with pytest.raises(ValueError, match="laplacian is given, but"):
        model(x, graph, walk, pairs)
    with pytest.raises(ValueError, match="keep one of the two"):
        GPSLayer(8, 0, local="none")
    with pytest.raises(ValueError, match="leaves nothing of d_model = 16"):
        GPSConfig.tiny(d_encoding=8)


@pytest.mark.parametrize(("walk_steps", "low", "high"), [(20, 1.0, 1.0), (0, 0.0, 0.35)])
def test_regular_graphs_are_told_apart_by_their_walks_only(walk_steps, low, high):
    graphs = skip_links(4)
    train, test = graphs[::2], graphs[1::2]
    config = {"d_in": 1, "d_model": 16, "d_out": 10, "n_layers": 1, "n_heads": 2, "pooling": "mean"}
    model = GPS({**config, "walk_steps": walk_steps})

    def inputs(part):
        graph = Graph.batch([g.graph for g in part])
        walk = (encodings.random_walk_encoding(graph, walk_steps),) if walk_steps else ()
        return (torch.cat([g.x for g in part]), graph, *walk), torch.tensor([int(g.y) for g in part])

    (given, y), optimiser = inputs(train), torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(120):  # batch norm's running statistics need that long
        loss = F.cross_entropy(model(*given), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    given, y = inputs(test)
    right = float((model.eval()(*given).argmax(-1) == y).double().mean())
    assert low <= right <= high  # chance: 0.1
