"""Running a proof, as it is and with a mistake planted in the code."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from nexus.zoo.proof import Mutation

ROOT = Path(__file__).resolve().parents[3]
ROOM = "nexus.models.gnn"


def proof_of(stem: str) -> ModuleType:
    """The proof module of a system."""
    return importlib.import_module(f"nexus.zoo.proofs.{stem}")


def largest_difference(proof: ModuleType, seed: int) -> float:
    """Largest difference of all comparisons of one seed."""
    return max(comparison.difference for comparison in proof.prove(seed))


class _Planted(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from other source text."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, f"<mutated {self.name}>", "exec"), vars(module))


@contextmanager
def planted(mutation: Mutation, stem: str) -> Iterator[None]:
    """The room with the mistake in it; everything that was imported before comes back afterwards."""
    path = mutation.file or f"nexus/models/gnn/{stem}.py"
    text = (ROOT / path).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1, f"{mutation.name}: its text stands {text.count(mutation.old)} times in {path}"
    kept = {name: module for name, module in sys.modules.items() if name == ROOM or name.startswith(f"{ROOM}.")}
    finder = _Planted(path.removesuffix(".py").replace("/", "."), text.replace(mutation.old, mutation.new))
    for name in kept:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n in sys.modules if n == ROOM or n.startswith(f"{ROOM}.")]:
            del sys.modules[name]
        sys.modules.update(kept)


def caught(proof: ModuleType, mutation: Mutation, stem: str) -> bool:
    """Whether the proof fails when the mistake is planted: a difference, or an error on the way."""
    with planted(mutation, stem):
        try:
            return any(comparison.difference > proof.TOLERANCE for comparison in proof.prove(0))
        except (RuntimeError, ValueError, IndexError, AssertionError, TypeError):
            return True
