"""GraphSAGE: what the sampler draws, and that a model works on a graph it has never seen."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nexus.data.graph import Graph
from nexus.data.graph_sets import block_model
from nexus.models.gnn._sampling import NeighborSampler, floyd
from nexus.models.gnn.graph_sage import GraphSAGE, SAGELayer


def star(n):
    return Graph.from_edges(torch.stack((torch.arange(n) + 1, torch.zeros(n, dtype=torch.long))), n + 1)


def test_every_subset_is_equally_likely():
    draw = torch.Generator().manual_seed(0)
    rounds = 20_000
    sets = floyd(torch.full((rounds,), 5), 2, draw).sort(dim=1).values
    counts = torch.bincount(sets[:, 0] * 5 + sets[:, 1], minlength=25)
    expected = rounds / 10  # pairs of five
    chi2 = float(((counts[counts > 0] - expected) ** 2 / expected).sum())
    assert int((counts > 0).sum()) == 10
    assert chi2 < 27.88  # 9 degrees of freedom, alpha = 0.001


def test_draws_are_different_and_no_more_than_asked_for():
    drawn = floyd(torch.arange(3, 50), 3, torch.Generator().manual_seed(1))
    assert all(len(set(row)) == 3 and max(row) < n for n, row in zip(range(3, 50), drawn.tolist(), strict=True))
    nodes, (block,) = NeighborSampler(star(9), [4]).sample(torch.tensor([0]))
    assert nodes[0] == 0
    assert block.degree.tolist() == [4]
    assert block.n_sources == len(nodes) == 5


def test_blocks_shrink_towards_the_seeds_and_keep_features_of_edges():
    edges = torch.randint(30, (2, 200), generator=torch.Generator().manual_seed(0))
    graph = Graph.from_edges(edges, 30, torch.arange(200.0))
    seeds = torch.tensor([4, 7])
    nodes, blocks = NeighborSampler(graph, [3, 2], seed=5).sample(seeds)
    assert [b.n_nodes for b in blocks] == [blocks[1].n_sources, 2]
    assert blocks[0].n_sources == len(nodes) == len(nodes.unique())
    for block in blocks:
        for s, t, mark in zip(
            block.src.tolist(), block.dst.tolist(), block.edge_attr[:, 0].long().tolist(), strict=True
        ):
            assert edges[:, mark].tolist() == [int(nodes[s]), int(nodes[t])]
    again = NeighborSampler(graph, [3, 2], seed=5).sample(seeds)
    assert torch.equal(again.nodes, nodes)


def test_bad_wishes_are_refused():
    with pytest.raises(ValueError, match="or -1 for all"):
        NeighborSampler(star(3), [3, 0])
    with pytest.raises(ValueError, match="give each node once"):
        NeighborSampler(star(3), [3]).sample(torch.tensor([1, 1]))
    model = GraphSAGE({"d_in": 2, "n_layers": 2})
    with pytest.raises(ValueError, match="1 blocks for 2 layers"):
        model(torch.zeros(4, 2), [star(3)])


@pytest.mark.parametrize("aggregator", ["mean", "pool", "max", "sum", "gcn"])
def test_the_order_of_neighbours_does_not_matter(aggregator):
    edges = torch.randint(12, (2, 50), generator=torch.Generator().manual_seed(2))
    layer, x = SAGELayer(4, 5, aggregator).double(), torch.randn(12, 4, dtype=torch.float64)
    mixed = edges[:, torch.randperm(50)]
    torch.testing.assert_close(layer(x, Graph.from_edges(edges, 12)), layer(x, Graph.from_edges(mixed, 12)))


def test_the_paper_divides_every_row_by_its_length():
    out = SAGELayer(4, 5, normalize=True)(torch.randn(10, 4), star(9))
    torch.testing.assert_close(out.norm(dim=1), torch.ones(10))


def test_it_learns_from_samples_and_names_the_blocks_of_another_graph():
    world = block_model([60, 60], 0.2, 0.01, noise=1.5, seed=0)
    seen, unseen = torch.arange(0, 120, 2), torch.arange(1, 120, 2)
    inside = (world.graph.edge_index % 2 == 0).all(0)  # training never sees an edge of the others
    graph = Graph.from_edges(world.graph.edge_index[:, inside], 120)
    model = GraphSAGE({"d_in": 8, "d_model": 16, "d_out": 2, "n_layers": 2})
    sampler, optimiser = NeighborSampler(graph, [5, 5]), torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        seeds = seen[torch.randperm(60)[:30]]
        nodes, blocks = sampler.sample(seeds)
        loss = F.cross_entropy(model(world.x[nodes], blocks), world.y[seeds])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        right = model(world.x, world.graph)[unseen].argmax(-1) == world.y[unseen]
    assert right.double().mean() > 0.95
