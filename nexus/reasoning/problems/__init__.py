"""Seeded generators of problems in English with their right answers, which are known by construction.

No generator uses the parser or a solver of this room, so that what they are tested with cannot share their faults.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from nexus.reasoning.problems.base import Problem
from nexus.reasoning.problems.blocks import blocksworld, mystery
from nexus.reasoning.problems.islands import islands
from nexus.reasoning.problems.ontologies import ontology
from nexus.reasoning.problems.orders import ages, shelf
from nexus.reasoning.problems.rulebases import rulebase
from nexus.reasoning.problems.stray import stray
from nexus.reasoning.problems.sums import sums
from nexus.reasoning.problems.zebra import zebra

FAMILIES: dict[str, Callable[[random.Random], Problem]] = {
    "ontology": ontology,
    "rulebase": rulebase,
    "zebra": zebra,
    "blocksworld": blocksworld,
    "mystery": mystery,
    "islands": islands,
    "ages": ages,
    "shelf": shelf,
    "sums": sums,
}


def generate(family: str, count: int, seed: int = 0) -> list[Problem]:
    """``count`` problems of a family; the same seed gives the same problems.

    Raises:
        ValueError: the family is not known.
    """
    if family not in FAMILIES:
        raise ValueError(f"family = {family!r} is not known; give one of {', '.join(FAMILIES)}")
    return [FAMILIES[family](random.Random(f"{family} {seed} {number}")) for number in range(count)]


__all__ = ["FAMILIES", "Problem", "generate", "stray"]
