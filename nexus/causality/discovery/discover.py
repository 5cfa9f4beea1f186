"""One door to all discovery methods: choose, run, say what is identified, and put the baselines beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nexus.causality.discovery.baselines import baseline_graphs
from nexus.causality.discovery.choice import MethodChoice, choose
from nexus.causality.discovery.fci import NONE, PAG, fci
from nexus.causality.discovery.independence import suited_test
from nexus.causality.discovery.lingam import direct_lingam
from nexus.causality.discovery.log_det import fit_log_det, project_to_dag
from nexus.causality.discovery.order_search import boss
from nexus.causality.discovery.pc import pc
from nexus.causality.discovery.scores import AdditiveScore, DiscreteScore, GaussianScore, Score
from nexus.causality.equivalence import CPDAG, cpdag_of, extend, meek
from nexus.causality.graphs import DAG, Bools
from nexus.causality.knowledge import Knowledge
from nexus.causality.table import Floats, Table, as_table

METHODS = ("auto", "boss", "pc", "fci", "lingam", "log_det", "additive", "discrete")
Graph = DAG | CPDAG | PAG
Edge = tuple[str, str]


@dataclass(frozen=True)
class Settings:
    """How a graph is sought.

    Attributes:
        method: one of METHODS; "auto" tests the assumptions.
        alpha: level of the independence tests of "pc" and "fci".
        hidden: allow for unmeasured common causes.
        dag_weight, sparsity_weight, threshold: of "log_det".
        standardise: bring columns to variance 1 first. Off, methods may read the order off the variances.
        seed: of starting orders and resampling.
    """

    method: str = "auto"
    alpha: float = 0.01
    hidden: bool = False
    dag_weight: float = 1.0
    sparsity_weight: float = 0.1
    threshold: float = 0.2
    standardise: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method = {self.method!r} is not a choice; give one of {', '.join(METHODS)}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha = {self.alpha!r} is out of range; give a number between 0 and 1")


@dataclass(frozen=True)
class Discovery:
    """A discovered graph and how far to trust it.

    Attributes:
        graph: a DAG if directions are identified, else a CPDAG or PAG.
        method, reasons: what was run, and why.
        baselines: name -> its graph's (edges, gain); the found graph stands there as "found". The gain is the fall
            of the Gaussian BIC against the empty graph, per row.
        confidence: (a, b) -> share of bootstrap samples with a -> b; empty without bootstrap.
        adjacency: the same for "joined, whatever the direction", keys in the columns' order.
    """

    graph: Graph
    method: str
    reasons: tuple[str, ...]
    baselines: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    confidence: Mapping[Edge, float] = field(default_factory=dict)
    adjacency: Mapping[Edge, float] = field(default_factory=dict)

    @property
    def identified(self) -> list[Edge]:
        """Edges whose direction the data and the method's assumptions settle."""
        return self.graph.causes if isinstance(self.graph, PAG) else self.graph.edges

    @property
    def undetermined(self) -> list[Edge]:
        """Joined pairs whose direction stays open."""
        if isinstance(self.graph, PAG):
            pairs = [
                (self.graph.names[i], self.graph.names[j]) for i, j in np.argwhere(np.triu(self.graph.marks != NONE))
            ]
            return [(a, b) for a, b in pairs if not {(a, b), (b, a)} & set(self.graph.causes)]
        return self.graph.undirected if isinstance(self.graph, CPDAG) else []

    def dag(self) -> DAG:
        """The graph as one DAG; undirected edges are directed as the class allows.

        Raises:
            ValueError: the graph is a PAG, of which no single DAG is a member.
        """
        if isinstance(self.graph, PAG):
            raise ValueError("a PAG allows for unmeasured causes and has no single DAG; give a graph, or hidden=False")
        return self.graph if isinstance(self.graph, DAG) else DAG(self.graph.names, extend(self.graph.matrix))

    def explain(self) -> str:
        """The result in words."""
        lines = [f"method: {self.method}", *(f"  because {reason}" for reason in self.reasons)]
        lines += [f"identified: {self._listed(self.identified, ' -> ')}"]
        lines += [f"direction open: {self._listed(self.undetermined, ' - ')}"]
        lines += [
            f"  {name:<15} {edges:3d} edges, gain {gain:7.3f} per row" for name, (edges, gain) in self.baselines.items()
        ]
        return "\n".join(lines)

    def _listed(self, edges: Sequence[Edge], arrow: str) -> str:
        shares = self.confidence if arrow == " -> " else self.adjacency
        said = [f"{a}{arrow}{b}" + (f" ({shares.get((a, b), 0.0):.0%})" if shares else "") for a, b in edges]
        return ", ".join(said) or "none"


def discover(
    data: Any,
    settings: Settings | None = None,
    knowledge: Knowledge | None = None,
    interventions: Sequence[Collection[str]] | None = None,
    bootstrap: int = 0,
) -> Discovery:
    """Find the causal graph of a table.

    Args:
        data: whatever :func:`nexus.causality.table.as_table` reads.
        settings: how.
        knowledge: tiers, required and forbidden edges.
        interventions: for each row, the variables that were set from outside (empty: merely observed).
        bootstrap: number of resamplings for the confidence of each edge; 0 leaves it out.

    Raises:
        ValueError: unusable data, settings or knowledge.
    """
    table, settings, knowledge = as_table(data), settings or Settings(), knowledge or Knowledge()
    allowed, required = knowledge.allowed(table.names), knowledge.demanded(table.names)
    touched = None if interventions is None else _touched(table, interventions)
    if touched is not None and settings.method not in ("auto", "boss", "additive"):
        raise ValueError(f"method = {settings.method!r} takes no interventions; use 'boss', 'additive' or 'auto'")
    chosen = MethodChoice(settings.method, ("it was asked for",))
    if settings.method == "auto":
        chosen = choose(table, allowed, required, settings.hidden, touched is not None)
    limits = (allowed, required)
    graph = run_method(chosen.method, table, limits, settings, touched)
    values = table.standardised() if settings.standardise else table.values
    baselines = _beside(graph, values, settings.seed)
    shares = _bootstrap(chosen.method, table, limits, settings, touched, bootstrap)
    return Discovery(graph, chosen.method, chosen.reasons, baselines, *shares)


def run_method(
    method: str, table: Table, limits: tuple[Bools, Bools], settings: Settings, touched: Bools | None = None
) -> Graph:
    """Run one method by name. `limits`: allowed and required edges."""
    values = table.standardised() if settings.standardise else table.values
    if method in ("pc", "fci"):
        test = suited_test(table)
        if method == "fci":
            return fci(test, table.names, *limits, alpha=settings.alpha)
        return CPDAG(table.names, pc(test, *limits, alpha=settings.alpha))
    if method == "lingam":
        return DAG(table.names, direct_lingam(values, *limits))
    if method == "log_det":
        weights = fit_log_det(values, limits[0], settings.dag_weight, settings.sparsity_weight)
        return DAG(table.names, project_to_dag(weights, settings.threshold, limits[0]) | limits[1])
    return _by_score(method, table, values, limits, settings, touched)


def _by_score(
    method: str, table: Table, values: Floats, limits: tuple[Bools, Bools], settings: Settings, touched: Bools | None
) -> Graph:
    if method == "additive":
        return DAG(table.names, boss(AdditiveScore(values, *limits, touched=touched), starts=1, seed=settings.seed))
    score: Score = (
        DiscreteScore(table.values, *limits)
        if method == "discrete"
        else GaussianScore(values, *limits, touched=touched)
    )
    dag = DAG(table.names, boss(score, seed=settings.seed))
    targets = (
        set()
        if touched is None
        else {frozenset(np.array(table.names)[row].tolist()) for row in np.unique(touched, axis=0)}
    )
    return narrowed(cpdag_of(dag, [t for t in targets if t]), *limits)


def narrowed(graph: CPDAG, allowed: Bools, required: Bools) -> CPDAG:
    """The class after background knowledge has ruled directions out."""
    return CPDAG(graph.names, meek(graph.matrix & allowed & ~required.T))


def _touched(table: Table, interventions: Sequence[Collection[str]]) -> Bools:
    if len(interventions) != len(table):
        raise ValueError(f"interventions has {len(interventions)} entries for {len(table)} rows; give one for each row")
    touched = np.zeros(table.values.shape, dtype=bool)
    for row, names in enumerate(interventions):
        touched[row, [table.at(name) for name in names]] = True
    return touched


def _beside(graph: Graph, values: Floats, seed: int) -> dict[str, tuple[int, float]]:
    """Edges and gain of the found graph and of the baselines."""
    graphs = (
        {} if isinstance(graph, PAG) else {"found": graph.directed if isinstance(graph, DAG) else extend(graph.matrix)}
    )
    graphs |= baseline_graphs(values, seed)
    return {name: (int(matrix.sum()), bic_gain(values, matrix)) for name, matrix in graphs.items()}


def bic_gain(values: Floats, matrix: Bools) -> float:
    """Fall of the linear Gaussian BIC per row against the empty graph."""
    gain, n = 0.0, len(values)
    centred = values - values.mean(0)
    for node in range(len(matrix)):
        parents = np.flatnonzero(matrix[:, node])
        if len(parents):
            rest = (
                centred[:, node]
                - centred[:, parents] @ np.linalg.lstsq(centred[:, parents], centred[:, node], rcond=None)[0]
            )
            ratio = max(float((rest**2).sum() / (centred[:, node] ** 2).sum()), 1e-12)
            gain -= np.log(ratio) + len(parents) * np.log(n) / n
    return float(gain)


def _bootstrap(
    method: str, table: Table, limits: tuple[Bools, Bools], settings: Settings, touched: Bools | None, times: int
) -> tuple[dict[Edge, float], dict[Edge, float]]:
    """Shares of the resampled tables in which an edge, or a join, was found; the method stays the same."""
    rng, d = np.random.default_rng(settings.seed), len(table.names)
    directed, joined = np.zeros((2, d, d))
    for _ in range(times):
        at = rng.integers(len(table), size=len(table))
        graph = run_method(method, table.rows(at), limits, settings, None if touched is None else touched[at])
        one, both = _edge_matrices(graph)
        directed += one
        joined += both
    names = table.names
    confidence = {(names[i], names[j]): directed[i, j] / times for i, j in np.argwhere(directed)}
    return confidence, {(names[i], names[j]): joined[i, j] / times for i, j in np.argwhere(np.triu(joined))}


def _edge_matrices(graph: Graph) -> tuple[Bools, Bools]:
    if isinstance(graph, PAG):
        both = graph.marks != NONE
        index = {name: i for i, name in enumerate(graph.names)}
        one = np.zeros_like(both)
        for a, b in graph.causes:
            one[index[a], index[b]] = True
        return one, both
    matrix = graph.directed if isinstance(graph, DAG) else graph.matrix
    return matrix & ~matrix.T, matrix | matrix.T
