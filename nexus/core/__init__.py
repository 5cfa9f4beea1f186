"""The mind (state space, memory, world model, energy, reasoner, causal engine) and the ground everything stands on.

`NEXUSCore` and `NEXUSConfig` are resolved on first touch, so that using a small part does not load the whole mind.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["NEXUSConfig", "NEXUSCore"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module("nexus.core.nexus_core"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
