"""One question from beginning to end: discover, identify, estimate, refute, ask what if, explain.

study = CausalStudy(data)                      # a pandas frame, an array, a mapping, or a CSV file
study.discover()                               # or study.set_graph("z -> x, z -> y, x -> y")
study.estimate("x", "y")
print(study.explain())
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nexus.causality.discovery.discover import Discovery, Settings, discover
from nexus.causality.discovery.fci import PAG
from nexus.causality.equivalence import CPDAG
from nexus.causality.estimation.estimate import estimate_effect
from nexus.causality.estimation.estimators import Estimate
from nexus.causality.estimation.possible import PossibleEffect, possible_causes, possible_effects
from nexus.causality.estimation.refute import EXTRA, Refutation, e_value, refute
from nexus.causality.graphs import ADMG, as_graph
from nexus.causality.identification.identify import Identification, identify
from nexus.causality.knowledge import Knowledge
from nexus.causality.scm import Action, StructuralModel
from nexus.causality.table import Table, as_table


class CausalStudy:
    """A table, a graph, and what has been asked of them.

    Args:
        data: whatever :func:`nexus.causality.table.as_table` reads; None if only the graph is asked.
        graph: if it is known; whatever :func:`nexus.causality.graphs.as_graph` reads.

    Attributes:
        table, graph: as given or discovered; None while there is none.
        discovery, identification, estimated, refutations: the last answers.
    """

    def __init__(self, data: Any = None, graph: Any = None) -> None:
        self.table: Table | None = None if data is None else as_table(data)
        self.graph: ADMG | None = None
        self.discovery: Discovery | None = None
        self.identification: Identification | None = None
        self.estimated: Estimate | None = None
        self.refutations: list[Refutation] = []
        self._own_graph = False  # True while the graph is one that was discovered
        if graph is not None:
            self.set_graph(graph)

    def set_graph(self, graph: Any) -> ADMG:
        """Take a graph as known.

        Raises:
            CycleError: "Causal graph is not DAG", with the cycle.
        """
        self.graph = as_graph(graph, self.table.names if self.table is not None else ())
        self.identification, self.estimated, self.refutations, self._own_graph = None, None, [], False
        return self.graph

    def discover(
        self,
        settings: Settings | None = None,
        knowledge: Knowledge | None = None,
        interventions: Sequence[Collection[str]] | None = None,
        bootstrap: int = 0,
    ) -> Discovery:
        """Find the graph; see :func:`nexus.causality.discovery.discover.discover`. A PAG leaves `graph` unset."""
        found = discover(self._data(), settings, knowledge, interventions, bootstrap)
        self.discovery, self.identification, self.estimated, self.refutations = found, None, None, []
        self._own_graph = True
        self.graph = None if isinstance(found.graph, PAG) else found.dag()
        return found

    def identify(self, treatment: str, outcome: str) -> Identification:
        """Whether and how the effect can be computed; variables that are not in the data count as unmeasured."""
        graph = self._known_graph()
        observed = None
        if self.table is not None:
            self.table.at(treatment), self.table.at(outcome)
            observed = [name for name in graph.names if name in self.table.names]
        self.identification = identify(graph, treatment, outcome, observed)
        return self.identification

    def estimate(self, treatment: str, outcome: str, method: str = "auto", level: float = 0.95) -> Estimate:
        """The effect with its interval; see :func:`nexus.causality.estimation.estimate.estimate_effect`."""
        found = self.identify(treatment, outcome)
        self.estimated = self._careful(estimate_effect(self._data(), found, method, level))
        return self.estimated

    def possible(self, treatment: str, outcome: str, method: str = "auto", level: float = 0.95) -> list[PossibleEffect]:
        """What the effect can be where the data left directions at the treatment open; empty where they did not."""
        graph = self.discovery.graph if self.discovery is not None and self._own_graph else None
        possible = possible_causes(graph, treatment) if isinstance(graph, CPDAG) else []
        return possible_effects(self._data(), possible, treatment, outcome, method, level) if len(possible) > 1 else []

    def _careful(self, estimate: Estimate) -> Estimate:
        """Notes where the graph has no effect to offer, or where the data left its directions open."""
        if self.identification is not None and not self.identification.reaches:
            note = "the graph has no directed path between them: any difference from 0 speaks against it"
            estimate = replace(estimate, notes=(*estimate.notes, note))
        open_ = self.discovery.undetermined if self.discovery is not None and self._own_graph else []
        if not open_:
            return estimate
        pairs = ", ".join(f"{a} - {b}" for a, b in open_)
        note = f"the graph was discovered and the directions of {pairs} were chosen freely"
        return replace(estimate, notes=(*estimate.notes, note))

    def refute(
        self, treatment: str, outcome: str, method: str = "auto", level: float = 0.05, seed: int = 0
    ) -> list[Refutation]:
        """Try to refute the estimate; see :func:`nexus.causality.estimation.refute.refute`."""
        estimate = self.estimate(treatment, outcome, method)
        found = self.identification
        assert found is not None
        chosen = method if method != "auto" else _method_name(estimate)

        def fit(table: Table) -> Estimate:
            with_extra = found.adjust is not None and EXTRA in table.names
            question = (
                replace(found, adjust=found.adjust | {EXTRA}) if with_extra and found.adjust is not None else found
            )
            return estimate_effect(table, question, chosen, resamplings=2)  # only the value is looked at

        self.refutations = refute(self._data(), fit, treatment, outcome, self.graph, estimate, level, seed=seed)
        return self.refutations

    def sensitivity(self) -> tuple[float, float]:
        """E-values of the last estimate and of its interval's nearer end.

        Raises:
            ValueError: nothing has been estimated yet.
        """
        if self.estimated is None or self.identification is None:
            raise ValueError("nothing has been estimated yet; call estimate(treatment, outcome) first")
        return e_value(self.estimated, self._data().column(self.identification.outcome))

    def model(self, mechanisms: str = "linear", seed: int = 0) -> StructuralModel:
        """The structural model of the graph, fitted to the data."""
        return StructuralModel.fit(self._data(), self._known_graph(), mechanisms, seed)

    def intervene(self, do: Mapping[str, Action], n: int = 1000, mechanisms: str = "linear", seed: int = 0) -> Table:
        """n units as they would be under the action; see :class:`nexus.causality.scm.StructuralModel`."""
        return self.model(mechanisms, seed).sample(n, do, seed)

    def counterfactual(self, units: Any, do: Mapping[str, Action], mechanisms: str = "linear", seed: int = 0) -> Table:
        """What seen units would have been under the action."""
        return self.model(mechanisms, seed).counterfactual(units, do)

    def explain(self) -> str:
        """Everything found so far, in words."""
        parts = [self.discovery.explain()] if self.discovery is not None else []
        if self.graph is not None:
            open_ = self._own_graph and self.discovery is not None and self.discovery.undetermined
            parts.append(f"{'one of the graphs that fit' if open_ else 'graph'}: {self.graph}")
        if self.identification is not None:
            parts.append(self.identification.explain())
        if self.estimated is not None:
            value, nearer = self.sensitivity()
            parts.append(f"effect: {self.estimated}")
            parts += [f"  note: {note}" for note in self.estimated.notes]
            parts.append(f"  E-value {value:.2f}, of the interval {nearer:.2f}")
        parts += [f"  {refutation}" for refutation in self.refutations]
        return "\n".join(parts) or "nothing has been asked yet; call discover or set_graph first"

    def _data(self) -> Table:
        if self.table is None:
            raise ValueError("there are no data yet; pass them when the study is made")
        return self.table

    def _known_graph(self) -> ADMG:
        if self.graph is None:
            raise ValueError("there is no graph yet; call discover() or set_graph('a -> b, ...') first")
        return self.graph


def _method_name(estimate: Estimate) -> str:
    return estimate.method.split()[0]
