"""FCI without its second search: a PAG, which allows for common causes that nobody measured.

A PAG's edge has a mark at each end: an arrow (not a cause), a tail (a cause), a circle (open). The skeleton is PC's, so
some edges may be left that a search over possible-d-sep sets would remove; rules R1 to R3 direct the marks. All marks
given are sound, not all that could be given are (Spirtes, Glymour & Scheines 2000; Zhang 2008; Colombo et al. 2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nexus.causality.discovery.independence import Independence
from nexus.causality.discovery.pc import find_skeleton, unshielded
from nexus.causality.graphs import Bools

NONE, CIRCLE, ARROW, TAIL = range(4)
_LEFT = {CIRCLE: "o", ARROW: "<", TAIL: "-"}
_RIGHT = {CIRCLE: "o", ARROW: ">", TAIL: "-"}


class PAG:
    """Partial ancestral graph. `marks[i, j]` is the mark at j of the edge between i and j."""

    def __init__(self, names: Sequence[str], marks: Any) -> None:
        self.names = tuple(names)
        self.marks: NDArray[np.int8] = np.array(marks, dtype=np.int8)
        if ((self.marks == NONE) != (self.marks == NONE).T).any():
            raise ValueError("marks: an edge has a mark at one end only; give both")
        self.marks.setflags(write=False)

    @property
    def edges(self) -> list[str]:
        """Each edge in words: ``a o-> b``."""
        return [
            f"{self.names[i]} {_LEFT[int(self.marks[j, i])]}-{_RIGHT[int(self.marks[i, j])]} {self.names[j]}"
            for i, j in np.argwhere(np.triu(self.marks != NONE))
        ]

    @property
    def causes(self) -> list[tuple[str, str]]:
        """Pairs (cause, effect) that hold in every graph of the class: a tail here, an arrow there."""
        found = np.argwhere((self.marks == ARROW) & (self.marks.T == TAIL))
        return [(self.names[i], self.names[j]) for i, j in found]

    def __str__(self) -> str:
        return ", ".join(self.edges) or "no edges"


def fci(
    test: Independence, names: Sequence[str], allowed: Bools, required: Bools, alpha: float = 0.01, most: int = 4
) -> PAG:
    """The PAG that the tests allow."""
    joined, separators = find_skeleton(test, allowed | allowed.T, alpha, most)
    joined |= required | required.T
    marks = _known_marks(joined, allowed, required)
    for a, c, b in unshielded(joined):
        if c not in separators.get((a, b), (c,)):
            for end in (a, b):
                if marks[end, c] == CIRCLE:
                    marks[end, c] = ARROW
    return PAG(names, _orient(marks))


def _known_marks(joined: Bools, allowed: Bools, required: Bools) -> NDArray[np.int8]:
    """What background knowledge says: if i -> j is ruled out, i is no cause of j, and the mark at i is an arrow."""
    marks = np.where(joined, CIRCLE, NONE).astype(np.int8)
    marks[joined & ~allowed.T] = ARROW
    marks[required] = ARROW
    marks[required.T] = TAIL
    return marks


def _orient(marks: NDArray[np.int8]) -> NDArray[np.int8]:
    changed = True
    while changed:
        changed = False
        for a, b in np.argwhere(marks != NONE).tolist():
            new = _rule(marks, a, b)
            for (i, j), mark in new.items():
                if marks[i, j] == CIRCLE:
                    marks[i, j] = mark
                    changed = True
    return marks


def _rule(m: NDArray[np.int8], a: int, b: int) -> dict[tuple[int, int], int]:
    """Marks that follow at the edge between a and b."""
    d = range(len(m))
    for c in d:
        if m[c, a] == ARROW and m[b, a] == CIRCLE and m[c, b] == NONE and c != b:  # R1: c *-> a o-* b
            return {(b, a): TAIL, (a, b): ARROW}
        chain = m[a, c] == ARROW and m[c, b] == ARROW and (m[c, a] == TAIL or m[b, c] == TAIL)
        if chain and m[a, b] == CIRCLE:  # R2: a -> c *-> b or a *-> c -> b, with a *-o b
            return {(a, b): ARROW}
    if m[a, b] == CIRCLE:  # R3: c *-> b <-* e, c *-o a o-* e, c and e not joined, a *-o b
        ends = [c for c in d if m[c, b] == ARROW and m[c, a] == CIRCLE]
        if any(m[c, e] == NONE for c in ends for e in ends if c < e):
            return {(a, b): ARROW}
    return {}
