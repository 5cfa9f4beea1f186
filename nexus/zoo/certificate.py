"""The record of a proof: what was compared with what, how close it came, and for which text it holds.

The one idea: a figure on a page is worth what stands behind it, so the record names everything that is needed to get
the figure again. It is read without torch.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from nexus.catalog import Row
from nexus.core.config import BaseConfig, ConfigError
from nexus.core.files import atomic_write_text


@dataclass(frozen=True, kw_only=True)
class Bench(BaseConfig):
    """Least seconds of forward and backward, ours first and peers beside it in one run; ``inputs`` are the shapes."""

    inputs: str
    seconds: dict[str, float]
    date: str
    cpu: str


@dataclass(frozen=True, kw_only=True)
class Certificate(BaseConfig):
    """One system's record, as it stands in ``nexus/certificates/<stem>.json``.

    Attributes:
        system: name of the row. oracle: what it was held against; ``versions``: of the packages that hold it.
        golden: SHA-256 of the frozen answers that it was held against, where the oracle could not be run beside it.
        seeds, dtype, comparisons: the runs, the types of what was compared, and how many pairs that were.
        outputs, gradients: largest difference, see :class:`nexus.zoo.proof.Comparison`; None where none was compared.
        tolerance: the difference that was allowed.
        mutations: each planted mistake, and what gave it away.
        cost: of the example: parameters, FLOPs, bytes and seconds, see :mod:`nexus.zoo.cost`.
        formulas: of these at any sizes, parts first; ``sizes`` at which they gave what was counted, each as
            "d_model=16,n_heads=4"; ``note``: of which variant they are.
        bench: what `nexus zoo bench` measured, if it was run.
        date, machine, command: when, where, and how to get it again.
        sources: SHA-256 of the text of the code and of the proof.
    """

    system: str
    oracle: str
    versions: dict[str, str]
    golden: dict[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...]
    dtype: str
    comparisons: int
    outputs: float | None
    gradients: float | None
    tolerance: float
    mutations: dict[str, str]
    cost: dict[str, float]
    formulas: dict[str, str] = field(default_factory=dict)
    sizes: tuple[str, ...] = ()
    note: str = ""
    bench: Bench | None = None
    date: str
    machine: dict[str, str]
    command: str
    sources: dict[str, str]


def read(row: Row) -> Certificate | None:
    """The row's certificate, whether or not it is for the present text; None if there is none.

    Raises:
        ValueError: the file is not a certificate.
    """
    if not row.certificate.is_file():
        return None
    try:
        return Certificate.from_dict(json.loads(row.certificate.read_text(encoding="utf-8")))
    except (ConfigError, ValueError) as error:
        cure = f"make it anew with `nexus zoo verify {row.name}`"
        raise ValueError(f"{row.certificate.name}: is not a certificate ({error}); {cure}") from None


def write(row: Row, certificate: Certificate) -> None:
    """Put the certificate where the row looks for it."""
    text = json.dumps(certificate.to_dict(), indent=1, allow_nan=False) + "\n"
    atomic_write_text(row.certificate, text)


def today() -> str:
    """The date, in UTC."""
    return datetime.now(UTC).date().isoformat()


def machine() -> dict[str, str]:
    """What figures depend on: the processor, torch, Python."""
    return {"cpu": _processor(), "torch": version("torch"), "python": platform.python_version()}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
