"""What an effect can be where directions stay open: one value for each set of causes that the treatment can have.

Maathuis, Kalisch & Bühlmann (2009), "Estimating high-dimensional intervention effects from observational data" (IDA):
all graphs of a class in which the treatment has the same causes give the same effect, by adjusting for these causes;
and where the outcome is one of them, none. A set of causes is possible if directing the treatment's edges that way
leaves a DAG without new colliders. That is tried (Dor & Tarsi 1992), so knowledge may have narrowed the class.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nexus.causality.equivalence import CPDAG, colliders, consistent_extension
from nexus.causality.estimation.estimate import estimate_effect
from nexus.causality.estimation.estimators import Estimate
from nexus.causality.graphs import Bools
from nexus.causality.identification.identify import Identification
from nexus.causality.table import Table

MOST_OPEN = 12  # open edges at the treatment: 4,096 ways to direct them


@dataclass(frozen=True)
class PossibleEffect:
    """The effect if the treatment has these ``causes``; ``estimate`` None says that it is 0: the outcome is a cause."""

    causes: frozenset[str]
    estimate: Estimate | None

    def __str__(self) -> str:
        names = ", ".join(sorted(self.causes)) or "nothing"
        effect = "none, for the outcome is among its causes" if self.estimate is None else str(self.estimate)
        return f"if its causes are {names}: {effect}"


def possible_causes(graph: CPDAG, treatment: str) -> list[frozenset[str]]:
    """The sets of direct causes that ``treatment`` has in the DAGs of the class, the smallest first.

    Raises:
        ValueError: more than `MOST_OPEN` of its edges are open.
    """
    at, m = graph.names.index(treatment), graph.matrix
    known = {graph.names[i] for i in np.flatnonzero(m[:, at] & ~m[at])}
    open_ = np.flatnonzero(m[:, at] & m[at]).tolist()
    if len(open_) > MOST_OPEN:
        raise ValueError(
            f"{len(open_)} edges at {treatment} are open, more than {MOST_OPEN}; say what you know of them"
        )
    found = []
    for size in range(len(open_) + 1):
        for into in itertools.combinations(open_, size):
            directed = m.copy()
            directed[at, list(into)] = False
            directed[[i for i in open_ if i not in into], at] = False
            if _extends(directed, m):
                found.append(frozenset(known | {graph.names[i] for i in into}))
    return found


def _extends(directed: Bools, before: Bools) -> bool:
    """Whether a DAG has these directions and no collider that the class does not have."""
    try:
        dag = consistent_extension(directed)
    except ValueError:
        return False
    return bool((colliders(dag) <= colliders(before)).all())


def possible_effects(
    table: Table,
    possible: Iterable[frozenset[str]],
    treatment: str,
    outcome: str,
    method: str = "auto",
    level: float = 0.95,
) -> list[PossibleEffect]:
    """The effect for each ``possible`` set of causes, see :func:`possible_causes`."""
    found = []
    for causes in possible:
        question = Identification(treatment, outcome, None, causes, None, None, None)
        estimate = None if outcome in causes else estimate_effect(table, question, method, level)
        found.append(PossibleEffect(causes, estimate))
    return found
