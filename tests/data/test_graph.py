"""A graph's derived parts are what its edges say, batched or not, and bad edges are refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nexus.data.graph import RADIX, Graph

EDGES = torch.tensor([[2, 0, 1, 2, 0, 0], [0, 2, 0, 0, 1, 1]])


def made(**more):
    return Graph.from_edges(EDGES, 4, torch.arange(6.0), torch.tensor([1, 0, 0, 1, 2, 0]), **more)


def test_edges_are_sorted_by_target_with_their_features():
    graph = made()
    assert graph.dst.tolist() == [0, 0, 0, 1, 1, 2]
    assert graph.edge_index.tolist() == EDGES[:, graph.order].tolist()
    assert graph.edge_attr[:, 0].tolist() == graph.order.tolist() == [0, 2, 3, 4, 5, 1]
    assert graph.edge_type.tolist() == [1, 0, 1, 2, 0, 0]
    assert graph.ptr.tolist() == [0, 3, 5, 6, 6]
    assert graph.degree.tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("edges", [0, 1, 500, RADIX - 1, RADIX, RADIX + 1])
@pytest.mark.parametrize("nodes", [1, 7, 2**15, 2**15 + 1, 2**16, 2**16 + 1, 2**31 + 5])
def test_any_number_of_edges_is_sorted_and_equal_targets_keep_their_order(nodes, edges):
    pairs = torch.randint(nodes, (2, edges), generator=torch.Generator().manual_seed(edges))
    pairs[1, ::2] = pairs[1, 0] if edges else 0  # the same target often
    graph = Graph.from_edges(pairs, nodes)
    dst, order = pairs[1].sort(stable=True)
    assert torch.equal(graph.order, order)
    assert torch.equal(graph.edge_index, torch.stack((pairs[0][order], dst)))
    assert graph.src.dtype == graph.dst.dtype == graph.order.dtype == torch.long


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=30))
def test_turning_the_edges_round_twice_gives_them_back(pairs):
    edges = torch.tensor(pairs, dtype=torch.long).view(-1, 2).t()
    graph = Graph.from_edges(edges, 7)
    back = graph.transposed
    assert torch.equal(graph.edge_index[:, back.order], back.edge_index.flip(0))
    assert sorted(map(tuple, back.transposed.edge_index.t().tolist())) == sorted(map(tuple, edges.t().tolist()))
    assert int(graph.degree.sum()) == int(back.degree.sum()) == len(pairs)


def test_a_batch_is_its_graphs_side_by_side():
    one, two = made(), Graph.from_edges(torch.tensor([[0], [1]]), 2, torch.ones(1), torch.zeros(1, dtype=torch.long))
    both = Graph.batch([one, two, one])
    assert (both.n_nodes, both.n_edges, both.n_graphs) == (10, 13, 3)
    assert both.node_ptr.tolist() == [0, 4, 6, 10]
    assert both.graph_of_node.tolist() == [0] * 4 + [1] * 2 + [2] * 4
    assert (both.dst.diff() >= 0).all()
    again = Graph.from_edges(both.edge_index, 10, both.edge_attr, both.edge_type, node_ptr=both.node_ptr)
    assert torch.equal(again.edge_index, both.edge_index)
    slots, mask, longest = both.padded
    assert longest == 4
    assert mask.tolist() == [[True] * 4, [True, True, False, False], [True] * 4]
    assert mask.flatten()[slots].all()
    assert len(slots.unique()) == 10
    assert Graph.batch([one, one]).padded[1] is None


def test_loops_are_added_once_with_the_mean_of_the_features():
    looped = made().looped
    loops = looped.src == looped.dst
    assert looped.src[loops].tolist() == [0, 1, 2, 3]
    assert looped.edge_attr[loops, 0].tolist() == [pytest.approx(5 / 3), 4.5, 1.0, 0.0]
    assert looped.looped.n_edges == looped.n_edges == 10


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=20))
def test_loops_stand_where_sorting_would_put_them(pairs):
    edges = torch.tensor(pairs, dtype=torch.long).view(-1, 2).t()
    looped = Graph.from_edges(edges, 5, n_sources=6).looped
    graph = Graph.from_edges(edges, 5)
    stay = graph.edge_index[:, graph.src != graph.dst]
    again = Graph.from_edges(torch.cat((stay, torch.arange(5).expand(2, -1)), dim=1), 5)
    assert torch.equal(looped.edge_index, again.edge_index)
    assert torch.equal(looped.order, again.order)
    assert looped.n_sources == 6


def test_shares_add_up_to_one_in_every_node_that_has_edges():
    graph = made()
    total = torch.zeros(4, 1).index_add(0, graph.dst, graph.shares(torch.float32))
    assert total[:, 0].tolist() == [pytest.approx(1), 1, 1, 0]
    assert torch.equal(graph.shares(torch.float64, back=True), graph.shares(torch.float64)[graph.transposed.order])


def test_undirected_has_each_edge_both_ways_and_once():
    graph = made().undirected()
    assert graph.edge_index.t().tolist() == [[1, 0], [2, 0], [0, 1], [0, 2]]


def test_kinds_of_edges_become_sources():
    typed = made().by_type(3)
    assert typed.n_sources == 12
    assert typed.src.tolist() == [4 + 2, 1, 4 + 2, 8 + 0, 0, 0]
    with pytest.raises(ValueError, match="there are 2 kinds"):
        made().by_type(2)
    with pytest.raises(ValueError, match="make the graph with edge_type"):
        Graph.from_edges(EDGES, 4).by_type(2)


@pytest.mark.parametrize(
    ("edges", "more", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.long), {}, r"shape \(2, edges\)"),
        (torch.zeros(2, 3), {}, "give integers"),
        (torch.tensor([[4], [0]]), {}, "source outside 0 ... 3"),
        (torch.tensor([[0], [-1]]), {}, "target outside 0 ... 3"),
        (torch.tensor([[0], [1]]), {"edge_attr": torch.zeros(2, 1)}, "edge_attr has 2 rows for 1 edges"),
        (torch.tensor([[0], [1]]), {"edge_type": torch.zeros(3)}, "edge_type has 3 rows for 1 edges"),
    ],
)
def test_bad_edges_are_refused(edges, more, message):
    with pytest.raises(ValueError, match=message):
        Graph.from_edges(edges, 4, **more)


def test_bad_batches_are_refused():
    plain = Graph.from_edges(EDGES, 4)
    with pytest.raises(ValueError, match="1 of 2 graphs have edge_attr"):
        Graph.batch([made(), plain])
    with pytest.raises(ValueError, match="give at least one"):
        Graph.batch([])
    with pytest.raises(ValueError, match="batch whole graphs"):
        Graph.batch([Graph.from_edges(torch.tensor([[4], [0]]), 2, n_sources=5)])
