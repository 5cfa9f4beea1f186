"""Graphs: building, refusing, districts, and m-separation against networkx."""

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.causality.graphs import ADMG, DAG, CycleError, as_graph, find_cycle
from nexus.causality.separation import implied_independences, separated
from nexus.causality.simulate import every_admg, random_admg, random_dag


def test_text_is_read_and_written():
    graph = ADMG.parse("z -> x; x -> y, y <-> x\n a, b <- z")
    assert graph.edges == [("z", "x"), ("z", "b"), ("x", "y")]
    assert graph.confounded == [("x", "y")]
    assert "a" in graph.names
    assert ADMG.parse(str(graph)) == graph


@pytest.mark.parametrize(
    ("text", "cycle"),
    [("a -> b, b -> c, c -> a", "a -> b -> c -> a"), ("a -> a", "a -> a"), ("a -> b, b -> a", "a -> b -> a")],
)
def test_a_cycle_is_named(text, cycle):
    with pytest.raises(CycleError, match=f"Causal graph is not DAG: it has the cycle {cycle}"):
        ADMG.parse(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ADMG.parse("a -> b, c -- d"), "part 2: 'c -- d' is not an edge"),
        (lambda: ADMG(["a", "a"], np.zeros((2, 2))), "twice"),
        (lambda: ADMG(["a"], np.zeros((2, 2))), "shape"),
        (lambda: ADMG(["a", "b"], np.zeros((2, 2)), np.triu(np.ones((2, 2)), 1)), "symmetric"),
        (lambda: DAG.parse("a <-> b"), "use ADMG"),
        (lambda: ADMG.parse("a -> b").parents(["c"]), "no variable 'c'"),
        (lambda: as_graph(np.full((2, 2), np.nan)), "NaN"),
        (lambda: as_graph(3), "is not a graph"),
    ],
)
def test_what_is_no_graph_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_form_of_a_graph_is_understood():
    wanted = ADMG.parse("a -> b")
    matrix = np.array([[0, 0.5], [0, 0]])
    for form in (wanted, "a -> b", {"a": ["b"]}, [("a", "b")], matrix):
        assert as_graph(form, ["a", "b"]) == wanted


@given(st.integers(0, 10**6))
def test_cycles_are_found_as_networkx_finds_them(seed):
    matrix = np.random.default_rng(seed).random((5, 5)) < 0.3
    cycle = find_cycle(matrix)
    directed = nx.from_numpy_array(matrix, create_using=nx.DiGraph)
    assert bool(cycle) == (not nx.is_directed_acyclic_graph(directed))
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(matrix[a, b] for a, b in itertools.pairwise(cycle))


def _with_latents(graph: ADMG) -> nx.DiGraph:
    """The DAG with an unmeasured cause in place of each bidirected edge."""
    whole = nx.DiGraph(graph.edges)
    whole.add_nodes_from(graph.names)
    for k, (a, b) in enumerate(graph.confounded):
        whole.add_edges_from([(f"hidden {k}", a), (f"hidden {k}", b)])
    return whole


@given(st.integers(0, 10**6))
def test_separation_agrees_with_networkx(seed):
    rng = np.random.default_rng(seed)
    graph = random_admg(6, 0.35, 0.2, rng)
    x, y, *others = rng.permutation(graph.names).tolist()
    z = set(others[: rng.integers(0, 4)])
    assert separated(graph, [x], [y], z) == nx.is_d_separator(_with_latents(graph), {x}, {y}, z)


def test_overlapping_sets_are_refused():
    with pytest.raises(ValueError, match="overlap"):
        separated(ADMG.parse("a -> b"), ["a"], ["a"])


def test_implied_independences_hold_and_none_is_forgotten():
    graph = random_dag(6, 7, np.random.default_rng(3))
    claims = list(implied_independences(graph, most=6))
    assert all(separated(graph, [a], [b], given) for a, b, given in claims)
    joined = graph.directed | graph.directed.T
    assert len(claims) == (~joined)[np.triu_indices(6, 1)].sum()


def test_there_are_200_admgs_of_three_nodes():
    graphs = every_admg(3)
    assert len(graphs) == len(set(graphs)) == 25 * 8


def test_districts_and_interventions():
    graph = ADMG.parse("a <-> b, b <-> c, d -> a, a -> c")
    assert graph.districts() == [frozenset("abc"), frozenset("d")]
    cut = graph.without_into(["a"])
    assert cut.edges == [("a", "c")]
    assert cut.confounded == [("b", "c")]
    assert graph.without_out_of(["a"]).edges == [("d", "a")]
    assert graph.order().index("d") < graph.order().index("a") < graph.order().index("c")
