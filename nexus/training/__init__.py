"""Training: control of long runs, guards, checkpoints, losses, optimisers, schedules."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "Trainer": "nexus.training.loop",
    "TrainingConfig": "nexus.training.config",
    "Auditor": "nexus.training.audit.watch",
    "Loss": "nexus.training.accumulation",
}
__all__ = ["Auditor", "Loss", "Trainer", "TrainingConfig"]


def __getattr__(name: str) -> Any:  # on first touch, so that a loss doesn't load the whole stack
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_WHERE[name]), name)
