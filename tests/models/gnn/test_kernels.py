"""The sums over neighbours against loops over edges: outputs and gradients, odd graphs, both precisions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nexus.data.graph import Graph
from nexus.models.gnn import _kernels as kernels
from tests.numerics import close, poisoned_memory, with_gradients  # noqa: F401

SIZES = [(1, 0, 1, 1), (2, 1, 1, 3), (9, 40, 2, 3), (30, 500, 4, 5)]  # nodes, edges, heads, channels


def graph_of(nodes, edges, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return Graph.from_edges(torch.randint(nodes, (2, edges), generator=draw), nodes)


def loop_sum(x, graph, weight):
    heads = weight.shape[1]
    rows = [torch.zeros_like(x[0])] * graph.n_nodes
    for e, (s, t) in enumerate(graph.edge_index.t().tolist()):
        rows[t] = rows[t] + (x[s].view(heads, -1) * weight[e, :, None]).flatten()
    return torch.stack(rows)


@pytest.mark.parametrize(("nodes", "edges", "heads", "channels"), SIZES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_weighted_sum(nodes, edges, heads, channels, dtype):
    graph = graph_of(nodes, edges)
    inputs = [torch.randn(nodes, heads * channels, dtype=dtype), torch.randn(edges, heads, dtype=dtype)]
    ours, gradients = with_gradients(lambda x, w: [kernels.neighbour_sum(x, graph, w)], inputs)
    truth, expected = with_gradients(lambda x, w: [loop_sum(x, graph, w) + 0 * x.sum() + 0 * w.sum()], inputs)
    for one, other in zip([*ours, *gradients], [*truth, *expected], strict=True):
        close(one, other)


@pytest.mark.parametrize(("nodes", "edges", "heads", "channels"), SIZES)
def test_the_dot_product_along_edges(nodes, edges, heads, channels):
    graph = graph_of(nodes, edges)
    inputs = [torch.randn(nodes, heads * channels, dtype=torch.float64) for _ in range(2)]

    def loop(q, k):
        return [(q[graph.dst] * k[graph.src]).view(edges, heads, channels).sum(-1)]

    ours, gradients = with_gradients(lambda q, k: [kernels.edge_dot(q, k, graph, heads)], inputs)
    truth, expected = with_gradients(loop, inputs)
    for one, other in zip([*ours, *gradients], [*truth, *expected], strict=True):
        close(one, other)


@pytest.mark.parametrize(("nodes", "edges", "heads", "channels"), SIZES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_mean(nodes, edges, heads, channels, dtype):
    graph, x = graph_of(nodes, edges), torch.randn(nodes, heads * channels, dtype=dtype)

    def loop(x):
        near = [x[graph.src[graph.dst == node]] for node in range(nodes)]
        return [torch.stack([rows.mean(0) if len(rows) else 0 * x[0] for rows in near])]

    ours, gradients = with_gradients(lambda x: [kernels.neighbour_mean(x, graph)], [x])
    truth, expected = with_gradients(loop, [x])
    close(ours[0], truth[0])
    close(gradients[0], expected[0])


@given(st.integers(1, 6), st.integers(0, 25), st.integers(0, 1000))
def test_the_softmax_adds_up_to_one_and_has_torchs_gradient(nodes, edges, seed):
    graph = graph_of(nodes, edges, seed)
    scores = torch.randn(edges, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 5

    def loop(s):
        parts = [s[graph.dst == node].softmax(0) for node in range(nodes)]
        return [torch.cat(parts)]

    ours, gradients = with_gradients(lambda s: [kernels.edge_softmax(s, graph)], [scores])
    truth, expected = with_gradients(loop, [scores])
    close(ours[0], truth[0])
    close(gradients[0], expected[0])
    total = kernels.edge_sum(ours[0], graph)
    close(total, (graph.degree > 0).double()[:, None].expand_as(total))


def test_the_softmax_survives_large_scores():
    graph = graph_of(5, 20)
    weight = kernels.edge_softmax(torch.full((20, 1), 1e4), graph)
    assert weight.isfinite().all()


def test_chunks_cover_all_edges_whatever_their_size(monkeypatch):
    graph, heads = graph_of(40, 2000), 2
    q, k = (torch.randn(40, 6, dtype=torch.float64) for _ in range(2))
    whole = kernels.edge_dot(q, k, graph, heads)
    monkeypatch.setattr(kernels, "CHUNK", 1)
    parts = list(kernels.chunks(2000, 6))
    assert len(parts) == 8
    close(kernels.edge_dot(q, k, graph, heads), whole)


@pytest.mark.parametrize("how", ["sum", "mean", "max", "softmax"])
def test_nothing_comes_from_no_neighbours(how):
    graph = Graph.from_edges(torch.tensor([[0], [1]]), 3)
    out = kernels.aggregate(torch.tensor([[-5.0], [1.0], [2.0]]), graph, how)
    assert out[:, 0].tolist() == [0, -5, 0]


def test_the_maximum_with_and_without_gradients_is_the_same():
    graph, x = graph_of(9, 40), torch.randn(9, 4)
    kept = kernels.neighbour_max(x.clone().requires_grad_(), graph)
    assert torch.equal(kept.detach(), kernels.neighbour_max(x, graph))


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="use one of sum, mean, max, softmax"):
        kernels.aggregate(torch.zeros(2, 1), graph_of(2, 1), "median")


def test_a_sampled_block_takes_more_sources_than_targets():
    graph = Graph.from_edges(torch.tensor([[4, 3, 0], [0, 1, 1]]), 2, n_sources=5)
    x = torch.arange(5.0)[:, None].requires_grad_()
    out = kernels.neighbour_sum(x, graph)
    assert out[:, 0].tolist() == [4, 3]
    out.sum().backward()
    assert x.grad[:, 0].tolist() == [1, 0, 0, 1, 1]


def test_graphs_are_pooled_each_for_itself():
    graph = Graph.batch([graph_of(2, 3), graph_of(3, 3)])
    x = torch.arange(5.0)[:, None]
    assert kernels.pool(x, graph, "sum")[:, 0].tolist() == [1, 9]
    assert kernels.pool(x, graph, "mean")[:, 0].tolist() == [0.5, 3]
    assert kernels.pool(x, graph, "none") is x
