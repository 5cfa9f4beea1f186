"""A terminal view of a run that is going on: verdict, last figures, and the curve of the loss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nexus.training.audit.diagnosis import diagnose
from nexus.training.audit.record import Record, read_record

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """A curve in one line of text; a dot stands for what isn't finite."""
    if not values:
        return ""
    stride = max(1, math.ceil(len(values) / width))
    shown = [values[i] for i in range(0, len(values), stride)]
    finite = [v for v in shown if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    scale = (len(_BARS) - 1) / ((high - low) or 1.0)
    return "".join(_BARS[int((v - low) * scale)] if math.isfinite(v) else "·" for v in shown)


def view(record: Record) -> Any:
    """The record as a rich table and the findings below it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _figures(record):
        table.add_row(name, value)
    findings = diagnose(record)
    if not findings:
        return Group(table, Text("nothing is wrong, as far as this record tells", style="green"))
    return Group(
        table, *(Text(str(finding), style="red" if i == 0 else "yellow") for i, finding in enumerate(findings))
    )


def _figures(record: Record) -> list[tuple[str, str]]:
    rows = [("run", record.source)]
    losses = record.losses
    if losses:
        last = record.steps[-1]
        rows += [("step", f"{last.get('step', len(losses)):.0f}"), ("loss", f"{losses[-1]:.4g}  {sparkline(losses)}")]
        rows += [
            (label, f"{last[name]:.3g}")
            for name, label in (("grad_norm", "gradient"), ("rate", "rate"))
            if name in last
        ]
    if record.readings and "ratio" in record.readings[-1]:
        rows.append(("update/weight", f"{record.readings[-1]['ratio']:.2e}"))
    return rows


def watch(path: Path | str, seconds: float = 2.0, stop: Callable[[], bool] = lambda: False) -> None:
    """Show the run at ``path`` until Ctrl+C, or until ``stop()``; it may begin later than this."""
    from rich.live import Live
    from rich.text import Text

    with Live(refresh_per_second=4) as live:
        while True:
            try:
                live.update(view(read_record(path)))
            except (FileNotFoundError, ValueError) as error:
                live.update(Text(f"waiting: {error}"))
            if stop():
                return
            time.sleep(seconds)
