"""A structural causal model: a DAG with mechanisms. It answers what would be (do) and what would have been.

A counterfactual takes three steps (Pearl 2009, Theorem 7.1.7): abduction reads each unit's noise off what was seen,
action replaces mechanisms, prediction runs the changed model with the same noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nexus.causality.graphs import ADMG, DAG
from nexus.causality.mechanisms import Mechanism, fit_mechanism
from nexus.causality.table import Floats, Table, as_table

Action = float | Callable[[Floats], Floats]  # a value, or a policy: what would have been -> what is set


class StructuralModel:
    """Mechanisms over a DAG.

    Args:
        graph: every common cause is a variable.
        mechanisms: one for each variable; its causes come in the order of the graph's names.
        noise: variable -> sampler `(rng, n) -> (n,)`.

    Raises:
        ValueError: the graph has bidirected edges, or a mechanism is missing.
    """

    def __init__(
        self,
        graph: ADMG,
        mechanisms: Mapping[str, Mechanism],
        noise: Mapping[str, Callable[[np.random.Generator, int], Floats]],
    ) -> None:
        if graph.confounded:
            a, b = graph.confounded[0]
            raise ValueError(
                f"{a} <-> {b}: a structural model needs every common cause as a variable; add it or drop it"
            )
        missing = [name for name in graph.names if name not in mechanisms or name not in noise]
        if missing:
            raise ValueError(f"mechanisms: {missing[0]!r} has no mechanism or no noise; give both for every variable")
        self.graph = DAG(graph.names, graph.directed)
        self.mechanisms, self.noise = dict(mechanisms), dict(noise)

    @classmethod
    def fit(cls, data: Any, graph: ADMG, mechanisms: str = "linear", seed: int = 0) -> StructuralModel:
        """Fit one mechanism of the given kind to each variable; its noise is drawn from the residuals.

        Args:
            mechanisms: "linear", "additive" or "neural".
        """
        table = as_table(data)
        fitted, noise = {}, {}
        for name in graph.names:
            causes, value = table.select(_causes(graph, name)), table.column(name)
            fitted[name] = fit_mechanism(mechanisms, causes, value, seed)
            noise[name] = _resampler(fitted[name].noise(causes, value))
        return cls(graph, fitted, noise)

    def sample(self, n: int, do: Mapping[str, Action] | None = None, seed: int = 0) -> Table:
        """n units of the model, after the action `do`."""
        rng = np.random.default_rng(seed)
        return self._run({name: self.noise[name](rng, n) for name in self.graph.names}, do or {}, n)

    def abduct(self, data: Any) -> dict[str, Floats]:
        """The noise of each seen unit: variable -> (n,)."""
        table = _units(data, self.graph.names)
        return {
            name: self.mechanisms[name].noise(table.select(_causes(self.graph, name)), table.column(name))
            for name in self.graph.names
        }

    def counterfactual(self, data: Any, do: Mapping[str, Action]) -> Table:
        """What each seen unit would have been, had `do` been done.

        Args:
            data: units with all variables of the graph: a table, or one unit as a mapping of numbers.
            do: variable -> value, or a policy that maps the values it would have had to others.
        """
        noise = self.abduct(data)
        return self._run(noise, do, len(noise[self.graph.names[0]]))

    def _run(self, noise: Mapping[str, Floats], do: Mapping[str, Action], n: int) -> Table:
        unknown = sorted(set(do) - set(self.graph.names))
        if unknown:
            raise ValueError(
                f"do names {unknown[0]!r}, which is no variable; the variables are {', '.join(self.graph.names)}"
            )
        values: dict[str, Floats] = {}
        for name in self.graph.order():
            action = do.get(name)
            if action is not None and not callable(action):
                values[name] = np.full(n, float(action))
                continue
            causes = [values[c] for c in _causes(self.graph, name)]
            matrix = np.column_stack(causes) if causes else np.empty((n, 0))
            natural = self.mechanisms[name].value(matrix, noise[name])
            values[name] = natural if action is None else np.asarray(action(natural), dtype=float)
        return Table(self.graph.names, np.column_stack([values[name] for name in self.graph.names]))


def _causes(graph: ADMG, name: str) -> list[str]:
    parents = graph.parents([name])
    return [n for n in graph.names if n in parents]


def _resampler(residuals: Floats) -> Callable[[np.random.Generator, int], Floats]:
    return lambda rng, n: rng.choice(residuals, size=n)


def _units(data: Any, names: tuple[str, ...]) -> Table:
    """A table; one or few units may be given, and a unit's columns may be constant."""
    if isinstance(data, Table):
        return data
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        data = {str(name): data[name].to_numpy() for name in data.columns}
    if not isinstance(data, Mapping):
        values = np.atleast_2d(np.asarray(data, dtype=float))
        if values.shape[1] != len(names):
            raise ValueError(f"units have {values.shape[1]} values, the model has {len(names)} variables; give all")
        return Table(names, values)
    missing = [name for name in names if name not in data]
    if missing:
        raise ValueError(f"units lack {missing[0]!r}; a counterfactual needs all variables: {', '.join(names)}")
    return Table(names, np.column_stack([np.atleast_1d(np.asarray(data[name], dtype=float)) for name in names]))
