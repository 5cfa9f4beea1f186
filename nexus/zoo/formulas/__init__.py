"""What systems cost, as closed formulas: one file a family, one entry a system, found by its stem.

The one idea: an entry builds its system from the sizes that its formulas name, so that torch's counter and the memory
that is really held can contradict it, at two sets of sizes that have nothing in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from nexus.zoo.formulas._entry import Entry


@cache
def entries() -> Mapping[str, Entry]:
    """Every entry by the stem of its system."""
    from nexus.zoo.formulas import attention, components, graphs, hybrids, positions, ssm, training

    found: dict[str, Entry] = {}
    for family in (attention, ssm, hybrids, positions, components, graphs, training):
        assert not found.keys() & family.ENTRIES.keys()
        found |= family.ENTRIES
    return found


def find(stem: str) -> Entry | None:
    """The entry of a system; None if nobody has written one."""
    return entries().get(stem)
