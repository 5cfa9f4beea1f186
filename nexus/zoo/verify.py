"""Running a proof: our tensors beside the oracle's over several seeds, the planted mistakes, the cost; a certificate.

The one idea: the certificate is written only if every comparison holds and every planted mistake is noticed, and an
older one is taken away if not.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, TypeVar

import torch

from nexus.catalog import Row
from nexus.core.files import sha256_file
from nexus.zoo import certificate, cost, mutate
from nexus.zoo.certificate import Certificate
from nexus.zoo.golden import FOLDER

Result = TypeVar("Result")
SEEDS = (0, 1, 2)
REQUIRED = ("ORACLE", "TOLERANCE", "MUTATIONS", "example", "prove")


class NotProved(ValueError):
    """A proof that does not hold; the message says where."""


@dataclass
class Findings:
    """What a proof's comparisons came to."""

    tolerance: float
    comparisons: int = 0
    outputs: float | None = None
    gradients: float | None = None
    largest: float = -1.0
    worst: str = "nothing"
    dtypes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether something was compared and nothing was too far off."""
        return self.comparisons > 0 and self.largest <= self.tolerance

    def add(self, what: str, difference: float, dtype: torch.dtype) -> None:
        """Take one comparison in; gradients are known by their name."""
        kind = "gradients" if "gradient" in what else "outputs"
        setattr(self, kind, max(difference, getattr(self, kind) or 0.0))
        if difference > self.largest:
            self.largest, self.worst = difference, what
        self.comparisons += 1
        self.dtypes = tuple(dict.fromkeys([*self.dtypes, str(dtype).removeprefix("torch.")]))


def load_proof(row: Row) -> ModuleType:
    """The row's proof.

    Raises:
        ValueError: there is none, it lacks a part, or a package that it needs is not installed.
    """
    if not row.proof_file.is_file():
        raise ValueError(f"{row.name}: has no proof yet; lay one out with `nexus zoo new {row.name}`")
    try:
        proof = importlib.import_module(f"nexus.zoo.proofs.{row.stem}")
    except ModuleNotFoundError as error:
        raise _package_missing(row, error) from error
    if lacking := [name for name in REQUIRED if not hasattr(proof, name)]:
        raise ValueError(f"{row.proof_file.name}: lacks {', '.join(lacking)}; see nexus/zoo/proof.py for the contract")
    return proof


def run_proof(stem: str, seeds: Sequence[int]) -> Findings:
    """Run a proof's comparisons, stopping after the first seed with one that is too far off."""
    proof = importlib.import_module(f"nexus.zoo.proofs.{stem}")
    findings = Findings(proof.TOLERANCE)
    for seed in seeds:
        torch.manual_seed(seed)
        for comparison in proof.prove(seed):
            findings.add(comparison.what, comparison.difference, comparison.ours.dtype)
        if not findings.holds:
            break
    return findings


def verify(row: Row, seeds: Sequence[int] = SEEDS) -> Certificate:
    """Prove a system and write its certificate.

    Raises:
        NotProved: a comparison is off, a planted mistake went unnoticed, or a cost is not what its formula says. The
            old certificate is gone then.
        ValueError: there is no proof, or it cannot be run.
    """
    proof, old = load_proof(row), _old(row)
    try:
        made = _certificate(row, proof, seeds)
    except NotProved:
        row.certificate.unlink(missing_ok=True)
        raise
    if old is not None and old.sources == made.sources:
        made = made.replace(bench=old.bench)  # measured by another command, for the same text
    certificate.write(row, made)
    return made


def golden_hashes(row: Row, proof: ModuleType) -> dict[str, str]:
    """SHA-256 of the golden files that a proof reads: those named in its ``GOLDEN``, or else the one of its stem."""
    names = getattr(proof, "GOLDEN", (row.stem,))
    files = {name: FOLDER / f"{name}.safetensors" for name in names}
    if hasattr(proof, "GOLDEN") and (lacking := [name for name, file in files.items() if not file.is_file()]):
        raise ValueError(f"{row.name}: there is no golden file for {', '.join(lacking)} in {FOLDER}")
    return {name: sha256_file(file) for name, file in files.items() if file.is_file()}


def _sound(row: Row, what: str, call: Callable[[], Result]) -> Result:
    """What a call gives; whatever it raises means that the system is not proved, but for a package that is not here."""
    try:
        return call()
    except ModuleNotFoundError as error:
        raise _package_missing(row, error) from error
    except Exception as error:
        raise NotProved(f"{row.name}: {what} raised {type(error).__name__}: {error}") from error


def _package_missing(row: Row, error: ModuleNotFoundError) -> Exception:
    if (error.name or "nexus").split(".")[0] == "nexus":
        return NotProved(f"{row.name}: its proof imports {error.name}, which does not exist")
    return ValueError(f"{row.name}: its proof needs {error.name}; pip install -e '.[dev]' brings it")


def _versions(row: Row, proof: ModuleType) -> dict[str, str]:
    try:
        return {package: version(package) for package in proof.ORACLE}
    except PackageNotFoundError as error:
        raise ValueError(f"{row.proof_file.name}: ORACLE names {error.name}, which is not installed here") from None


def _old(row: Row) -> Certificate | None:
    try:
        return certificate.read(row)
    except ValueError:
        return None  # unreadable, and about to be replaced


def _cost(row: Row, proof: ModuleType) -> tuple[dict[str, float], float, dict[str, Any]]:
    example = proof.example()
    return cost.count(example).known(), cost.seconds(example), cost.recorded(row)


def _certificate(row: Row, proof: ModuleType, seeds: Sequence[int]) -> Certificate:
    findings = _sound(row, "the proof", lambda: run_proof(row.stem, seeds))
    if not findings.holds:
        raise NotProved(f"{row.name}: {findings.worst} is off by {findings.largest:.2e}, allowed {proof.TOLERANCE:g}")
    caught = mutate.catches(row, seeds)
    if missed := [name for name, how in caught.items() if how is None]:
        raise NotProved(f"{row.name}: the proof does not notice {len(missed)} planted mistakes: {'; '.join(missed)}")
    counted, seconds, formulas = _sound(row, "the cost", lambda: _cost(row, proof))
    return Certificate(
        system=row.name,
        oracle=row.oracle,
        versions=_versions(row, proof),
        golden=golden_hashes(row, proof),
        seeds=tuple(seeds),
        dtype=", ".join(findings.dtypes),
        comparisons=findings.comparisons,
        outputs=findings.outputs,
        gradients=findings.gradients,
        tolerance=proof.TOLERANCE,
        mutations={name: how for name, how in caught.items() if how},
        cost={**counted, "seconds": seconds},
        **formulas,
        date=certificate.today(),
        machine=certificate.machine(),
        command=f"nexus zoo verify {row.name}" + ("" if tuple(seeds) == SEEDS else f" --seeds {len(seeds)}"),
        sources=row.sources(),
    )
