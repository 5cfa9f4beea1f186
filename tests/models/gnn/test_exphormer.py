"""Exphormer: its edges, what the two variants differ in, linear cost, and a bit carried further than its layers."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from nexus.data.graph import Graph
from nexus.data.graph_sets import relay
from nexus.models.gnn.exphormer import (
    Exphormer,
    ExphormerAttention,
    ExphormerConfig,
    expander_edges,
    second_eigenvalue,
    with_expander,
)


@pytest.mark.parametrize(("size", "degree"), [(60, 4), (300, 4), (301, 6), (500, 8)])
def test_the_expander_is_regular_without_loops_and_mixes(size, degree):
    edges = expander_edges(size, degree, torch.Generator().manual_seed(size))
    assert torch.bincount(edges[0], minlength=size).tolist() == [degree] * size
    assert (edges[0] != edges[1]).all()
    assert second_eigenvalue(edges, size) <= 2 * math.sqrt(degree - 1) + 0.2


def test_a_ring_does_not_mix():
    ring = torch.stack((torch.arange(100), (torch.arange(100) + 1) % 100))
    assert second_eigenvalue(torch.cat((ring, ring.flip(0)), dim=1), 100) > 1.99


def test_small_graphs_become_complete_and_odd_degrees_are_refused():
    assert expander_edges(4, 4).shape == (2, 12)
    assert expander_edges(1, 4).shape == (2, 0)
    with pytest.raises(ValueError, match="use a positive even number"):
        expander_edges(10, 3)


def test_no_edge_leaves_its_graph():
    chains = relay(5, 4)
    graph = with_expander(chains.graph, 4, 2, seed=1)
    owner = torch.cat((chains.graph.graph_of_node, torch.arange(4).repeat_interleave(2)))
    assert torch.equal(owner[graph.src], owner[graph.dst])
    assert graph.n_nodes == 24 + 8
    again = with_expander(chains.graph, 4, 2, seed=1)
    assert torch.equal(again.edge_index, graph.edge_index)


def test_the_variants_agree_where_scores_are_small_and_differ_where_they_are_clamped():
    graph = with_expander(relay(8, 3).graph, 4, 1)
    layer = ExphormerAttention(8, 2).double()
    x = torch.randn(graph.n_nodes, 8, dtype=torch.float64)
    small = layer(0.1 * x, graph)
    large = layer(30 * x, graph)
    layer.variant = "code"
    torch.testing.assert_close(layer(0.1 * x, graph), small, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(layer(30 * x, graph), large, rtol=1e-2)


class _Work(TorchFunctionMode):
    """Counts the numbers that all operations write."""

    count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.count += sum(t.numel() for t in tree_leaves(result) if isinstance(t, torch.Tensor))
        return result


def test_the_work_is_linear_in_the_nodes():
    model = Exphormer(ExphormerConfig.tiny()).eval()
    counts = []
    for nodes in (2000, 4000):
        ring = torch.stack((torch.arange(nodes), (torch.arange(nodes) + 1) % nodes))
        graph = with_expander(Graph.from_edges(ring, nodes), 4, 1)
        model(torch.randn(nodes, 6), graph)  # what a graph derives once is derived here
        with torch.no_grad(), _Work() as work:
            model(torch.randn(nodes, 6), graph)
        counts.append(work.count)
    assert counts[1] / counts[0] == pytest.approx(2, rel=0.02)


def test_graphs_of_another_make_are_refused():
    model, chains = Exphormer(ExphormerConfig.tiny(d_in=3)), relay(3, 2)
    for graph in (chains.graph, with_expander(chains.graph, 4, 2)):
        with pytest.raises(ValueError, match=r"with_expander\(graph, degree, n_virtual=1\)"):
            model(chains.x, graph)
    with pytest.raises(ValueError, match="pass an encoding exactly if"):
        model(chains.x, with_expander(chains.graph), torch.zeros(8, 2))


@pytest.mark.parametrize(("degree", "n_virtual", "solved"), [(4, 1, True), (0, 0, False)])
def test_two_layers_carry_a_bit_over_twelve_steps_with_short_cuts_only(degree, n_virtual, solved):
    train, test = relay(12, 40, seed=0), relay(12, 60, seed=1)
    config = {"d_in": 3, "d_model": 16, "d_out": 2, "n_layers": 2, "n_heads": 2, "norm": "layer"}
    model = Exphormer({**config, "n_virtual": n_virtual})
    graphs = [with_expander(s.graph, degree, n_virtual) for s in (train, test)]
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(80):
        loss = F.cross_entropy(model(train.x, graphs[0]), train.y, ignore_index=-1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    known = test.y >= 0
    right = float((model(test.x, graphs[1])[known].argmax(-1) == test.y[known]).double().mean())
    assert right > 0.97 if solved else right < 0.7
