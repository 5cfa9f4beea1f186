"""Ways to an effect that estimators know: back-door adjustment, the front door, instruments.

Each is found by its definition in the graph (Pearl 2009, sections 3.3 and 7.4); ID finds whatever else there is.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator

from nexus.causality.graphs import ADMG
from nexus.causality.separation import separated


def is_back_door(graph: ADMG, treatment: str, outcome: str, adjust: Collection[str]) -> bool:
    """No descendant of the treatment, and every path into the treatment is blocked."""
    if frozenset(adjust) & graph.descendants([treatment]):
        return False
    return separated(graph.without_out_of([treatment]), [treatment], [outcome], adjust)


def back_door(
    graph: ADMG, treatment: str, outcome: str, observed: Collection[str] | None = None
) -> frozenset[str] | None:
    """A minimal adjustment set among the observed variables, preferring causes of the outcome; None if there is none.

    If any set works, so do all observed ancestors of the two that the treatment does not cause (van der Zander,
    Liśkiewicz & Textor 2014); what is not needed is then dropped, causes of the treatment first: they cost precision.
    """
    seen = frozenset(graph.names if observed is None else observed)
    pool = (graph.ancestors([treatment, outcome]) & seen) - graph.descendants([treatment]) - {outcome}
    if not is_back_door(graph, treatment, outcome, pool):
        return None
    direct = graph.without_out_of([treatment])
    near = direct.ancestors([outcome])
    for name in sorted(pool, key=lambda n: (n in direct.parents([outcome]), n in near, n)):
        if is_back_door(graph, treatment, outcome, pool - {name}):
            pool -= {name}
    return pool


def is_front_door(graph: ADMG, treatment: str, outcome: str, through: Collection[str]) -> bool:
    """All directed paths meet the set, nothing confounds it with the treatment, the treatment blocks the rest."""
    between = frozenset(through)
    if not between or treatment in between or outcome in between:
        return False
    bypass = graph.subgraph(frozenset(graph.names) - between)
    if outcome in bypass.descendants([treatment]):
        return False
    if not separated(graph.without_out_of([treatment]), [treatment], between):
        return False
    return separated(graph.without_out_of(between), between, [outcome], [treatment])


def front_door(
    graph: ADMG, treatment: str, outcome: str, observed: Collection[str] | None = None
) -> frozenset[str] | None:
    """A smallest set of mediators that satisfies the front-door criterion, or None."""
    seen = frozenset(graph.names if observed is None else observed)
    pool = (graph.descendants([treatment]) & graph.ancestors([outcome]) & seen) - {treatment, outcome}
    return next((s for s in _subsets(pool, 1) if is_front_door(graph, treatment, outcome, s)), None)


def instrument(
    graph: ADMG, treatment: str, outcome: str, observed: Collection[str] | None = None
) -> tuple[str, frozenset[str]] | None:
    """A variable that reaches the outcome through the treatment only, and what to condition on; or None."""
    seen = frozenset(graph.names if observed is None else observed) - {treatment, outcome}
    if outcome not in graph.descendants([treatment]):
        return None
    without = graph.without_out_of([treatment])
    later = graph.descendants([treatment])
    for name in sorted(seen - later):
        pool = seen - later - graph.descendants([name])
        for given in _subsets(pool, 0, most=2):
            if separated(without, [name], [outcome], given) and not separated(graph, [name], [treatment], given):
                return name, given
    return None


def _subsets(pool: Collection[str], least: int, most: int | None = None) -> Iterator[frozenset[str]]:
    top = len(pool) if most is None else min(most, len(pool))
    for size in range(least, top + 1):
        yield from map(frozenset, itertools.combinations(sorted(pool), size))
