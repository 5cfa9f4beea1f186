"""Background knowledge: what is known of the graph before the data are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nexus.causality.graphs import Bools, CycleError, find_cycle

Edge = tuple[str, str]


@dataclass(frozen=True)
class Knowledge:
    """Tiers, required and forbidden edges.

    Attributes:
        tiers: groups of variables, earliest first; nothing in a later tier causes anything in an earlier one.
        required: (cause, effect) pairs that are known.
        forbidden: (cause, effect) pairs that are ruled out.
    """

    tiers: Sequence[Sequence[str]] = ()
    required: Sequence[Edge] = ()
    forbidden: Sequence[Edge] = ()

    def allowed(self, names: Sequence[str]) -> Bools:
        """(d, d): True where i -> j is possible.

        Raises:
            ValueError: a name is unknown, or two statements contradict each other.
            CycleError: the required edges have a cycle.
        """
        place = self._places(names)
        allowed = ~np.eye(len(names), dtype=bool)
        for later, tier in enumerate(self.tiers):
            for earlier in self.tiers[:later]:
                allowed[np.ix_([place[n] for n in tier], [place[n] for n in earlier])] = False
        for cause, effect in self.forbidden:
            allowed[place[cause], place[effect]] = False
        required = self.demanded(names)
        for i, j in np.argwhere(required & ~allowed):
            raise ValueError(
                f"required edge {names[i]} -> {names[j]} is also forbidden; drop one of the two statements"
            )
        return allowed & ~required.T

    def demanded(self, names: Sequence[str]) -> Bools:
        """(d, d): True where i -> j is required."""
        place, required = self._places(names), np.zeros((len(names), len(names)), dtype=bool)
        for cause, effect in self.required:
            required[place[cause], place[effect]] = True
        if cycle := find_cycle(required):
            raise CycleError([names[i] for i in cycle])
        return required

    def _places(self, names: Sequence[str]) -> dict[str, int]:
        place = {name: i for i, name in enumerate(names)}
        said = [*(n for tier in self.tiers for n in tier), *(n for e in [*self.required, *self.forbidden] for n in e)]
        unknown = sorted(set(said) - place.keys())
        if unknown:
            raise ValueError(
                f"knowledge names {unknown[0]!r}, which is no variable; the variables are {', '.join(names)}"
            )
        return place
