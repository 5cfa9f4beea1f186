"""Symbolic reasoning: formulas, a parser for controlled English, solvers, and a checker that imports none of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "Reasoner": "reasoner",
    "Answer": "answer",
    "NotUnderstood": "english.text",
    "check": "checker",
    "Claim": "checker",
    "Theory": "formulas",
    "Planning": "formulas",
}
__all__ = ["Answer", "Claim", "NotUnderstood", "Planning", "Reasoner", "Theory", "check"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"nexus.reasoning.{_WHERE[name]}"), name)
