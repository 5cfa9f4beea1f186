"""Running a system's proof inside a test."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from nexus.catalog import find

ROOT = Path(__file__).resolve().parents[1]


def proof_holds(stem: str, seeds: Sequence[int] = (0, 1, 2)) -> None:
    """Every comparison of the proof is within its tolerance, and its planted mistakes still fit the source."""
    proof = import_module(f"nexus.zoo.proofs.{stem}")
    for seed in seeds:
        found = list(proof.prove(seed))
        assert found, "the proof compares nothing"
        worst = max(found, key=lambda comparison: comparison.difference)
        assert worst.difference <= proof.TOLERANCE, f"seed {seed}, {worst.what}: {worst.difference:.2e}"
    assert len(proof.MUTATIONS) >= 4
    for mutation in proof.MUTATIONS:
        source = (ROOT / mutation.file if mutation.file else find(stem).file).read_text(encoding="utf-8")
        assert source.count(mutation.old) == 1, f"{mutation.name}: its text is there {source.count(mutation.old)} times"
    module, inputs = proof.example()
    module(*inputs)
