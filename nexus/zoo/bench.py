"""How fast a system is beside its peers: forward and backward, in turn, in one run.

The one idea: a speed alone says more about the machine than about the code, so it is measured beside a peer's. A proof
may give a size that is worth measuring, and modules that do the same work on the same inputs:

    def large() -> Example
    def peers(example: Example) -> dict[str, nn.Module]
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nexus.catalog import PACKAGE, Row
from nexus.core.files import atomic_write_text
from nexus.zoo import certificate
from nexus.zoo.certificate import Bench
from nexus.zoo.cost import floats_of
from nexus.zoo.verify import load_proof

RESULTS = PACKAGE.parent / "benchmarks" / "results"
ROUNDS = 45


def bench(row: Row, rounds: int = ROUNDS) -> Bench:
    """Measure, write ``benchmarks/results/zoo_<stem>.json``, and put the figures on the certificate.

    Raises:
        ValueError: the system has no proof, or no certificate for its present text.
    """
    proof, record = load_proof(row), certificate.read(row)
    if record is None or row.status != "proved":
        raise ValueError(f"{row.name}: is not proved as it stands; run `nexus zoo verify {row.name}` first")
    example = proof.large() if hasattr(proof, "large") else proof.example()
    modules = {row.name: example.module, **(proof.peers(example) if hasattr(proof, "peers") else {})}
    calls = {name: training_call(module, example.inputs) for name, module in modules.items()}
    result = Bench(
        inputs=" and ".join(_describe(value) for value in example.inputs),
        seconds=in_turn(calls, rounds),
        date=certificate.today(),
        cpu=certificate.machine()["cpu"],
    )
    atomic_write_text(RESULTS / f"zoo_{row.stem}.json", json.dumps(result.to_dict(), indent=1) + "\n")
    certificate.write(row, record.replace(bench=result))
    return result


def training_call(module: nn.Module, inputs: tuple[object, ...]) -> Callable[[], None]:
    """A call that runs forward and backward once."""

    def call() -> None:
        total = torch.stack([tensor.float().sum() for tensor in floats_of(module(*inputs))]).sum()
        if total.requires_grad:
            total.backward()

    return call


def in_turn(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Least seconds of each: what else the machine does only adds. Rounds begin with another each time: caches."""
    rows: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for number in range(rounds + 1):
        order.append(order.pop(0))
        for name in order:
            start = time.perf_counter()
            calls[name]()
            if number:
                rows[name].append(time.perf_counter() - start)
    return {name: min(row) for name, row in rows.items()}


def _describe(value: object) -> str:
    return " x ".join(map(str, value.shape)) if isinstance(value, Tensor) else type(value).__name__
