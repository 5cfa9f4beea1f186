"""The complete algorithms ID and IDC: a formula for P(y | do(x), z) from observed data, or a hedge that rules one out.

Shpitser & Pearl (2006), "Identification of joint interventional distributions in recursive semi-Markovian causal
models" (ID, lines 1 to 7) and "Identification of conditional interventional distributions" (IDC).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from nexus.causality.graphs import ADMG
from nexus.causality.identification.estimand import Estimand, Probability, Quotient, product, summed
from nexus.causality.separation import separated

Names = frozenset[str]


@dataclass(frozen=True)
class Hedge:
    """Why an effect cannot be computed: two models agree on everything observed and differ in the effect.

    Attributes:
        larger: variables that unmeasured causes join, some of them treated.
        smaller: a part of them that is joined still, without a treated one, all of it above the outcome.
        treated, outcome: of the (sub)question that failed.
    """

    larger: Names
    smaller: Names
    treated: Names
    outcome: Names

    def holds_in(self, graph: ADMG) -> bool:
        """Check the witness by its definition alone (Shpitser & Pearl 2006, Definition 6)."""
        if not (self.smaller < self.larger and self.larger & self.treated and not self.smaller & self.treated):
            return False
        joined = all(len(graph.subgraph(part).districts()) == 1 for part in (self.larger, self.smaller))
        above = graph.without_into(self.treated).ancestors(self.outcome)
        return joined and self.smaller <= above

    def __str__(self) -> str:
        larger, smaller = _set(self.larger), _set(self.smaller)
        return f"hedge: unmeasured causes join {larger}, and without the treated ones still {smaller}"


class NotIdentifiable(ValueError):
    """No formula exists; `hedge` is the proof."""

    def __init__(self, hedge: Hedge) -> None:
        self.hedge = hedge
        super().__init__(f"the effect is not identifiable: {hedge}; measure one of these common causes, or experiment")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.hedge,)


@dataclass(frozen=True)
class _Distribution:
    """P over `names`: observed (`formula` None), or a formula that the algorithm has built."""

    names: Names
    formula: Estimand | None = None

    def marginal(self, of: Collection[str]) -> Estimand:
        if self.formula is None:
            return Probability(tuple(sorted(of))) if of else product([])
        return summed(self.names - frozenset(of), self.formula)

    def onto(self, names: Names) -> _Distribution:
        return _Distribution(names, None if self.formula is None else self.marginal(names))

    def conditional(self, name: str, given: Names, graph: ADMG) -> Estimand:
        """P(name | given), the given ones being its predecessors in the graph."""
        if self.formula is None:
            part = graph.subgraph(given | {name})
            district = next(d for d in part.districts() if name in d)
            pillow = (district | part.parents(district)) - {name}  # the others are independent of it
            return Probability((name,), tuple(sorted(pillow)))
        return Quotient(self.marginal(given | {name}), self.marginal(given)) if given else self.marginal({name})


def identify_effect(
    graph: ADMG, outcome: Collection[str], treatment: Collection[str], given: Collection[str] = ()
) -> Estimand:
    """The formula for P(outcome | do(treatment), given).

    Raises:
        NotIdentifiable: there is none; its `hedge` is the witness.
        ValueError: the sets overlap, name unknown variables, or there is no outcome.
    """
    y, x, z = frozenset(outcome), frozenset(treatment), frozenset(given)
    graph.subgraph(y | x | z)  # refuses unknown names
    if not y or y & x or (y | x) & z:
        raise ValueError(f"outcome {_set(y)}, treatment {_set(x)}, given {_set(z)}: give disjoint sets and an outcome")
    return _idc(graph, y, x, z)


def _idc(graph: ADMG, y: Names, x: Names, z: Names) -> Estimand:
    cut = graph.without_into(x)
    for name in sorted(z):  # seeing z_i is as good as doing it (rule 2 of do-calculus)
        if separated(cut.without_out_of([name]), y, [name], x | z - {name}):
            return _idc(graph, y, x | {name}, z - {name})
    whole = _id(graph, y | z, x, _Distribution(frozenset(graph.names)))
    return Quotient(whole, summed(y, whole)) if z else whole


def _id(graph: ADMG, y: Names, x: Names, p: _Distribution) -> Estimand:
    v = frozenset(graph.names)
    if not x:  # line 1
        return p.marginal(y)
    above = graph.ancestors(y)
    if v - above:  # line 2
        return _id(graph.subgraph(above), y, x & above, p.onto(above))
    idle = v - x - graph.without_into(x).ancestors(y)
    if idle:  # line 3
        return _id(graph, y, x | idle, p)
    parts = graph.subgraph(v - x).districts()
    if len(parts) > 1:  # line 4
        return summed(v - y - x, product([_id(graph, part, v - part, p) for part in parts]))
    return _one_district(graph, y, x, p, parts[0])


def _one_district(graph: ADMG, y: Names, x: Names, p: _Distribution, inner: Names) -> Estimand:
    districts = graph.districts()
    outer = next(d for d in districts if inner <= d)
    if len(districts) == 1:  # line 5
        raise NotIdentifiable(Hedge(outer, inner, x, y))
    order = graph.order()
    factors = [p.conditional(name, frozenset(order[: order.index(name)]), graph) for name in order if name in outer]
    if inner == outer:  # line 6
        return summed(inner - y, product(factors))
    return _id(graph.subgraph(outer), y, x & outer, _Distribution(outer, product(factors)))  # line 7


def _set(names: Sequence[str] | Names) -> str:
    return "{" + ", ".join(sorted(names)) + "}"
