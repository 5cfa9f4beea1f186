"""Worlds whose truth is known: random graphs, data from them, and discrete models that are computed exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nexus.causality.graphs import ADMG, DAG, Bools, topological_order
from nexus.causality.table import Floats

NOISES = ("gaussian", "exponential", "uniform", "laplace", "gumbel")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def random_dag(d: int, edges: int, rng: np.random.Generator) -> DAG:
    """An Erdős-Rényi DAG over x0, x1, ... with exactly so many edges, in a random order."""
    pairs = np.argwhere(np.triu(np.ones((d, d), dtype=bool), 1))
    matrix = np.zeros((d, d), dtype=bool)
    matrix[tuple(pairs[rng.choice(len(pairs), size=edges, replace=False)].T)] = True
    order = rng.permutation(d)
    return DAG([f"x{i}" for i in range(d)], matrix[np.ix_(order, order)])


def random_admg(d: int, directed: float, bidirected: float, rng: np.random.Generator) -> ADMG:
    """Each possible edge with these probabilities."""
    a = np.triu(rng.random((d, d)) < directed, 1)
    b = np.triu(rng.random((d, d)) < bidirected, 1)
    return ADMG([f"v{i}" for i in range(d)], a, b | b.T)


def draw_noise(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Noise with variance 1.

    Raises:
        ValueError: the kind is unknown.
    """
    kinds = {
        "gaussian": lambda: rng.standard_normal(shape),
        "exponential": lambda: rng.exponential(size=shape),
        "uniform": lambda: rng.uniform(-(3**0.5), 3**0.5, size=shape),
        "laplace": lambda: rng.laplace(scale=0.5**0.5, size=shape),
        "gumbel": lambda: rng.gumbel(scale=6**0.5 / np.pi, size=shape),
    }
    if kind not in kinds:
        raise ValueError(f"noise = {kind!r} is not a choice; give one of {', '.join(NOISES)}")
    return kinds[kind]()


def linear_data(graph: DAG, n: int, noise: str, rng: np.random.Generator) -> Floats:
    """(n, d): linear mechanisms with weights of 0.5 to 2 in size."""
    size = graph.directed.shape
    weights = graph.directed * rng.uniform(0.5, 2, size) * rng.choice([-1.0, 1.0], size)
    return draw_noise(noise, (n, size[0]), rng) @ np.linalg.inv(np.eye(size[0]) - weights)


def curved_data(graph: DAG, n: int, noise: str, rng: np.random.Generator) -> Floats:
    """(n, d): additive noise around a sum of random waves of each parent."""
    values = draw_noise(noise, (n, len(graph.names)), rng) * 0.5
    for node in topological_order(graph.directed):
        for parent in np.flatnonzero(graph.directed[:, node]):
            x = values[:, parent] / max(values[:, parent].std(), 1e-9)
            bend, shift = rng.uniform(1.0, 2.0), rng.uniform(-1, 1)
            values[:, node] += rng.choice([-1.0, 1.0]) * np.sin(bend * x + shift) * rng.uniform(0.8, 1.5)
    return values


@dataclass(frozen=True)
class DiscreteModel:
    """An exact discrete model of an ADMG: each bidirected edge is an unmeasured cause with three values.

    Attributes:
        tables: variable -> (d1, ..., own), over its parents, its unmeasured causes and itself.
        hidden: the distribution of each unmeasured cause, in the order of `graph.confounded`.
    """

    graph: ADMG
    cards: Mapping[str, int]
    tables: Mapping[str, Floats]
    hidden: tuple[Floats, ...]

    @classmethod
    def random(cls, graph: ADMG, rng: np.random.Generator, most: int = 3) -> DiscreteModel:
        """Random tables, two to `most` values a variable."""
        cards = {name: int(rng.integers(2, most + 1)) for name in graph.names}
        tables = {}
        for name in graph.names:
            shape = [cards[p] for p in _parents(graph, name)] + [3] * len(_confounders(graph, name))
            tables[name] = rng.dirichlet(np.ones(cards[name]), size=shape or None)
        return cls(graph, cards, tables, tuple(rng.dirichlet(np.ones(3)) for _ in graph.confounded))

    def distribution(self, do: Mapping[str, int] | None = None) -> Floats:
        """The joint probabilities, one axis a variable, after setting some of them to codes."""
        letter = dict(zip(self.graph.names, _LETTERS, strict=False))
        hidden = _LETTERS.upper()[: len(self.hidden)]
        operands, axes = list(self.hidden), list(hidden)
        for name in self.graph.names:
            if do and name in do:
                operands.append(np.eye(self.cards[name])[do[name]])
                axes.append(letter[name])
                continue
            operands.append(self.tables[name])
            above = [letter[p] for p in _parents(self.graph, name)]
            axes.append("".join([*above, *(hidden[k] for k in _confounders(self.graph, name)), letter[name]]))
        formula = ",".join(axes) + "->" + "".join(letter[name] for name in self.graph.names)
        return np.asarray(np.einsum(formula, *operands, optimize="greedy"))

    def effect(self, outcome: list[str], do: Mapping[str, int], given: Mapping[str, int] | None = None) -> Floats:
        """P(outcome | do, given), one axis an outcome."""
        joint, names = self.distribution(do), list(self.graph.names)
        for name, code in (given or {}).items():
            joint = np.take(joint, [code], axis=names.index(name))
        kept = joint.sum(tuple(i for i, name in enumerate(names) if name not in outcome))
        present = [name for name in names if name in outcome]
        return np.asarray((kept / kept.sum()).transpose([present.index(name) for name in outcome]))


def _parents(graph: ADMG, name: str) -> list[str]:
    return [graph.names[i] for i in np.flatnonzero(graph.directed[:, graph.index[name]])]


def _confounders(graph: ADMG, name: str) -> list[int]:
    return [k for k, pair in enumerate(graph.confounded) if name in pair]


def every_admg(d: int) -> list[ADMG]:
    """All labelled ADMGs over v0, v1, ...: every acyclic set of directed edges with every set of bidirected."""
    names = [f"v{i}" for i in range(d)]
    ordered = [(i, j) for i in range(d) for j in range(d) if i != j]
    pairs = [(i, j) for i, j in ordered if i < j]
    acyclic = [m for m in _subsets(d, ordered) if len(topological_order(m)) == d]
    return [ADMG(names, a, b | b.T) for a in acyclic for b in _subsets(d, pairs)]


def _subsets(d: int, pairs: list[tuple[int, int]]) -> list[Bools]:
    found = []
    for bits in range(2 ** len(pairs)):
        matrix = np.zeros((d, d), dtype=bool)
        for k, (i, j) in enumerate(pairs):
            matrix[i, j] = bits >> k & 1
        found.append(matrix)
    return found
