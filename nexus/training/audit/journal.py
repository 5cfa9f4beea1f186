"""After a fix: an entry in the journal, and a smoke test that keeps the fault away.

The one idea of the guide: every fault that was mended leaves both.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path

from nexus.core.files import atomic_write
from nexus.training.audit.findings import Finding

HEADING = "## Debugging Log"


def write_journal_entry(
    finding: Finding, fix: str, resolution: str, path: Path | str = "journal.md", date: str | None = None
) -> Path:
    """Append an entry to the journal (made if it isn't there): symptom, root cause, fix, resolution.

    Args:
        fix: what was changed. resolution: how it went after that.
        date: YYYY-MM-DD, by default today.
    """
    path = Path(path)
    day = date or datetime.date.today().isoformat()
    text = path.read_text(encoding="utf-8") if path.is_file() else "# Journal\n"
    if HEADING not in text:
        text = f"{text.rstrip()}\n\n{HEADING}\n"
    place = f" ({finding.code})" if finding.code else ""
    entry = (
        f"\n### {day} - {finding.kind.capitalize()}\n"
        f"**Symptom**: {finding.evidence}\n"
        f"**Root Cause**: {finding.causes[0] if finding.causes else 'unknown'}{place}\n"
        f"**Fix**: {fix}\n"
        f"**Resolution**: {resolution}\n"
    )
    with atomic_write(path) as handle:
        handle.write((text.rstrip() + "\n" + entry).encode())
    return path


def write_smoke_test(finding: Finding, build: str, folder: Path | str = "tests", steps: int = 20) -> Path:
    """Write a test that trains for a few steps and demands that the auditor does not find this fault again.

    Args:
        build: ``module:function`` that returns (model, batches, loss): what was mended, small enough for a test.
        folder: of the tests. steps: how long the test trains.

    Raises:
        ValueError: ``build`` is not of that form.
    """
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", build):
        raise ValueError(f"build={build!r}: is not module:function; for example my_project.train:build_tiny")
    module, _, function = build.partition(":")
    name = re.sub(r"\W+", "_", finding.kind).strip("_")
    path = Path(folder) / f"test_no_{name}_in_{module.replace('.', '_')}.py"
    with atomic_write(path) as handle:
        handle.write(_TEST.format(kind=finding.kind, name=name, module=module, function=function, steps=steps).encode())
    return path


_TEST = '''"""Regression: {kind} was found in {module} and mended; it shall not come back."""

import itertools
import math

from {module} import {function}

from nexus.training import Auditor
from nexus.training.accumulation import Loss
from nexus.training.optimizers import make_optimizer


def test_no_{name}():
    model, batches, loss = {function}()
    optimizer = make_optimizer("adamw", model, 1e-3)
    audit = Auditor(model, optimizer, every=4)
    for batch in itertools.islice(itertools.cycle(batches), {steps}):
        with audit.step() as seen:
            value = Loss.of(loss(model, batch)).mean()
            seen.loss = value.detach()
            value.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert all(math.isfinite(value) for value in audit.record.losses)
    assert "{kind}" not in [finding.kind for finding in audit.findings()]
'''
