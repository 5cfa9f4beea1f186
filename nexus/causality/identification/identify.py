"""Which way leads to an effect: the estimators' own ones first, then ID; or the witness that none exists."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from nexus.causality.graphs import ADMG, as_graph
from nexus.causality.identification.criteria import back_door, front_door, instrument
from nexus.causality.identification.estimand import Estimand
from nexus.causality.identification.id_algorithm import Hedge, NotIdentifiable, identify_effect


@dataclass(frozen=True)
class Identification:
    """What a graph says about one effect.

    Attributes:
        treatment, outcome: the question.
        estimand: a formula over observed data; None if no such formula exists without further assumptions.
        adjust: a back-door set, or None.
        mediators: a front-door set, or None.
        instrument: (variable, what to condition on), or None; identifies an effect if it is linear.
        hedge: the witness, if there is no formula.
        reaches: False if the graph has no directed path from treatment to outcome: there is no effect then.
    """

    treatment: str
    outcome: str
    estimand: Estimand | None
    adjust: frozenset[str] | None
    mediators: frozenset[str] | None
    instrument: tuple[str, frozenset[str]] | None
    hedge: Hedge | None
    reaches: bool = True

    @property
    def identified(self) -> bool:
        """True if the effect can be computed from the observed distribution alone."""
        return self.estimand is not None

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways that exist, the one to take first."""
        known = [("back-door", self.adjust), ("front-door", self.mediators), ("instrument", self.instrument)]
        found = [name for name, what in known if what is not None]
        return tuple([*found, "id"] if self.identified else found)

    def explain(self) -> str:
        """The answer in words."""
        lines = [
            f"effect of {self.treatment} on {self.outcome}: {'identified' if self.identified else 'NOT identified'}"
        ]
        if not self.reaches:
            lines.append("  the graph has no directed path between them: it says that there is no effect")
        if self.estimand is not None:
            lines.append(f"  P({self.outcome} | do({self.treatment})) = {self.estimand}")
        if self.adjust is not None:
            lines.append(f"  back-door: adjust for {', '.join(sorted(self.adjust)) or 'nothing'}")
        if self.mediators is not None:
            lines.append(f"  front-door: through {', '.join(sorted(self.mediators))}")
        if self.instrument is not None:
            name, given = self.instrument
            lines.append(
                f"  instrument: {name}" + (f" given {', '.join(sorted(given))}" if given else "") + " (linear effects)"
            )
        return "\n".join([*lines, f"  {self.hedge}"] if self.hedge else lines)


def identify(graph: Any, treatment: str, outcome: str, observed: Collection[str] | None = None) -> Identification:
    """Say whether, and how, the effect of one variable on another can be computed.

    Args:
        graph: whatever :func:`nexus.causality.graphs.as_graph` reads.
        observed: the variables that are in the data; the others are projected out first.

    Raises:
        ValueError: unknown names; the treatment is the outcome.
    """
    known = as_graph(graph)
    if treatment == outcome:
        raise ValueError(f"treatment = outcome = {treatment!r}; give two variables")
    if observed is not None:
        known = projected(known, [*observed, treatment, outcome])
    estimand, hedge = None, None
    try:
        estimand = identify_effect(known, [outcome], [treatment])
    except NotIdentifiable as error:
        hedge = error.hedge
    return Identification(
        treatment,
        outcome,
        estimand,
        adjust=back_door(known, treatment, outcome),
        mediators=front_door(known, treatment, outcome),
        instrument=instrument(known, treatment, outcome),
        hedge=hedge,
        reaches=outcome in known.descendants([treatment]),
    )


def projected(graph: ADMG, observed: Collection[str]) -> ADMG:
    """The graph over the observed variables alone: paths through others become edges (Verma & Pearl 1990)."""
    a, b = graph.directed.copy(), graph.bidirected.copy()
    for name in [n for n in graph.names if n not in observed]:
        i = graph.index[name]
        causes, effects, beside = a[:, i].copy(), a[i].copy(), b[i].copy()
        a |= causes[:, None] & effects[None]
        ends = effects[:, None] & (effects | beside)[None]
        b |= ends | ends.T
        b[range(len(b)), range(len(b))] = False
        a[i] = a[:, i] = b[i] = b[:, i] = False
    whole = ADMG(graph.names, a, b)
    return whole.subgraph([n for n in graph.names if n in observed])
