"""Markov equivalence by its definition: the same joins and the same colliders."""

import itertools
from functools import cache

import numpy as np
import pytest

from nexus.causality.equivalence import CPDAG, cpdag_of, extend, half_shd, markov_equivalent, shd
from nexus.causality.graphs import DAG, find_cycle, topological_order
from nexus.causality.simulate import random_dag

D = 4


@cache
def _all_dags() -> list[np.ndarray]:
    pairs = list(itertools.combinations(range(D), 2))
    found = []
    for states in itertools.product(range(3), repeat=len(pairs)):
        matrix = np.zeros((D, D), bool)
        for (i, j), state in zip(pairs, states, strict=True):
            matrix[i, j], matrix[j, i] = state == 1, state == 2
        if len(topological_order(matrix)) == D:
            found.append(matrix)
    return found


def _signature(m: np.ndarray) -> tuple:
    joined = m | m.T
    colliders = {
        (a, c, b)
        for c in range(D)
        for a, b in itertools.combinations(range(D), 2)
        if m[a, c] and m[b, c] and not joined[a, b]
    }
    return joined.tobytes(), frozenset(colliders)


def test_the_cpdag_is_what_all_equivalent_dags_agree_on():
    dags = _all_dags()
    assert len(dags) == 543
    classes: dict[tuple, np.ndarray] = {}
    for m in dags:
        key = _signature(m)
        classes[key] = classes.get(key, np.zeros((D, D), bool)) | m
    for m in dags:
        assert (cpdag_of(DAG("abcd", m)).matrix == classes[_signature(m)]).all()


def test_equivalent_means_the_same_signature():
    dags = _all_dags()[::7]
    for one, other in itertools.pairwise(dags):
        assert markov_equivalent(DAG("abcd", one), DAG("abcd", other)) == (_signature(one) == _signature(other))
    assert markov_equivalent(DAG.parse("a -> b, b -> c"), DAG.parse("c -> b, b -> a"))
    assert not markov_equivalent(DAG.parse("a -> b, c -> b"), DAG.parse("a -> b, b -> c"))


def test_a_member_lies_in_its_class():
    for seed in range(20):
        graph = random_dag(7, 9, np.random.default_rng(seed))
        found = cpdag_of(graph)
        assert cpdag_of(found.a_member()) == found


def test_interventions_identify_the_edges_at_their_targets():
    graph = DAG.parse("a -> b, b -> c")
    assert cpdag_of(graph).undirected == [("a", "b"), ("b", "c")]
    assert cpdag_of(graph, [["a"]]).edges == [("a", "b"), ("b", "c")]  # the second one follows by Meek's first rule
    assert cpdag_of(graph, [["c"]]).undirected == [("a", "b")]


def test_what_contradicts_itself_becomes_a_dag_all_the_same():
    square = np.zeros((4, 4), bool)
    for i in range(4):
        square[i, (i + 1) % 4] = square[(i + 1) % 4, i] = True  # a ring of lines: no DAG without a new collider
    with pytest.raises(ValueError, match="no DAG fits"):
        CPDAG("abcd", square).a_member()
    assert not find_cycle(extend(square))
    assert extend(square).sum() == 4


def test_distances():
    true, turned = DAG.parse("a -> b, b -> c"), DAG.parse("a -> b, c -> b", names=["a", "b", "c"])
    assert shd(true, true) == 0
    assert shd(true, turned) == 1
    assert shd(true, np.zeros((3, 3))) == 2
    assert half_shd(cpdag_of(true), true) == 1.0
