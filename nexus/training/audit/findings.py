"""A finding: what is wrong, how it is known, why it may be, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a run.

    Attributes:
        kind: short name, for example "frozen weights".
        evidence: what was measured, with its numbers and steps.
        causes: likely ones, the likeliest first.
        cure: what to do, in words.
        change: the cure as fields of :class:`nexus.training.config.TrainingConfig`; empty if it lies in code.
        code: file and line or module to look at, where it is known.
        confidence: from 0 to 1: how sure the rule is, given this much evidence.
    """

    kind: str
    evidence: str
    causes: tuple[str, ...]
    cure: str
    change: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    confidence: float = 0.9

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"change": dict(self.change), "causes": list(self.causes)}

    def __str__(self) -> str:
        lines = [f"{self.kind} ({self.confidence:.0%} sure)", f"  seen:  {self.evidence}"]
        lines += [f"  maybe: {cause}" for cause in self.causes]
        lines.append(f"  cure:  {self.cure}")
        if self.change:
            lines.append("  set:   " + ", ".join(f"{key}={value}" for key, value in self.change.items()))
        if self.code:
            lines.append(f"  at:    {self.code}")
        return "\n".join(lines)
