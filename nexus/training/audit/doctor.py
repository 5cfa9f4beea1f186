"""What `nexus doctor run` prints: the diagnosis of a folder or a log, as text, JSON or a page."""

from __future__ import annotations

import json
from pathlib import Path

from nexus.training.audit.diagnosis import diagnose
from nexus.training.audit.page import write_page
from nexus.training.audit.record import read_record, storable


def report(path: Path | str, as_json: bool = False, page: Path | str | None = None) -> int:
    """Print the diagnosis; returns 0 for a healthy run, 1 if something was found.

    Args:
        page: also write the curves to this HTML file.
    """
    record = read_record(path)
    findings = diagnose(record)
    if page is not None:
        write_page(record, page)
    if as_json:
        known = {"source": record.source, "steps": len(record.steps), "readings": len(record.readings)}
        print(json.dumps(storable({**known, "findings": [f.to_dict() for f in findings]}), indent=2))
    elif findings:
        print("\n\n".join(str(finding) for finding in findings))
    else:
        print(f"nothing is wrong, as far as {len(record.steps)} steps and {len(record.readings)} readings tell")
    if page is not None and not as_json:
        print(f"\ncurves: {page}")
    return 1 if findings else 0
