"""Diagnosis: walk the tree over a record, and say what is wrong, the first cause first."""

from __future__ import annotations

from pathlib import Path

from nexus.training.audit.findings import Finding
from nexus.training.audit.record import Record, read_record
from nexus.training.audit.tree import TREE


def diagnose(run: Record | Path | str) -> list[Finding]:
    """What is wrong with a run, the most likely cause first; empty if nothing is known to be.

    Args:
        run: a record, or a folder or log to read one from.

    Raises:
        FileNotFoundError, ValueError: see :func:`nexus.training.audit.record.read_record`.
    """
    record = run if isinstance(run, Record) else read_record(run)
    found: dict[str, Finding] = {}
    for branch in TREE:
        for rule in branch.rules:
            finding = rule(record)
            if finding is not None and finding.kind not in found:
                found[finding.kind] = finding
    return list(found.values())
