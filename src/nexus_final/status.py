"""`status` and `--plan` at the terminal: where a run is, and what the next one would do."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from nexus.core.files import size_on_disk
from nexus_final.lock import holder
from nexus_final.paths import Paths
from nexus_final.reset import human_bytes
from nexus_final.runner import Decision
from nexus_final.state import StateStore


def show_status(paths: Paths, console: Console) -> None:
    """Print where the pipeline is. Reads only, and works beside a running one."""
    pid = holder(paths.lock)
    _say(console, f"root {paths.root}: " + ("no run is active" if pid is None else f"a run is active (pid {pid})"))
    if not paths.state.exists():
        _say(console, "nothing has run here yet; start with ./run_nexus_master.sh")
        return
    with StateStore(paths.state) as store:
        console.print(_stage_table(store, paths, active=pid is not None))
        _show_last(store, console)
    sizes = {path.name: size_on_disk(path) for path in (paths.memory, paths.checkpoints, paths.results, paths.release)}
    free = shutil.disk_usage(paths.root).free
    used = ", ".join(f"{name} {human_bytes(size)}" for name, size in sizes.items())
    _say(console, f"{used}; {human_bytes(free)} free on this disk")


def _say(console: Console, line: str) -> None:
    console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)


def _stage_table(store: StateStore, paths: Paths, active: bool) -> Table:
    table = Table("stage", "status", "time", "size", "ended")
    for row in store.stages():
        status = "was killed" if row.status == "running" and not active else row.status
        size = sum(size_on_disk(paths.absolute(path)) for path, _ in row.artefacts)
        ended = "" if row.ended is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.ended))
        table.add_row(row.name, status, human_seconds(row.seconds), human_bytes(size) if size else "", ended)
        if row.error:
            table.add_row("", row.error, "", "", "")
    return table


def _show_last(store: StateStore, console: Console) -> None:
    if (saved := store.last_checkpoint()) is not None:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in saved["metrics"].items())
        _say(console, f"last checkpoint: step {saved['step']}, {saved['path']} {metrics}")
    for event in store.events(10):
        when = time.strftime("%H:%M:%S", time.localtime(event.at))
        details = ", ".join(f"{key}={value}" for key, value in event.payload.items())
        _say(console, f"{when} {event.kind} {details}")


def show_plan(decisions: Sequence[Decision], paths: Paths, console: Console) -> None:
    """Print what would run and what it will cost in time, disk and memory."""
    table = Table("stage", "action", "why", "time", "disk", "memory")
    for found in decisions:
        cost = found.estimate
        costs = ["", "", ""]
        if found.action != "skip":
            costs = [human_seconds(cost.seconds), human_bytes(cost.disk), human_bytes(cost.memory)]
        table.add_row(found.stage.title or found.stage.name, found.action, found.why, *costs)
    console.print(table)
    costs_all = [found.estimate for found in decisions]
    disk, memory = sum(cost.disk for cost in costs_all), max((cost.memory for cost in costs_all), default=0)
    _say(
        console,
        f"in all: {human_seconds(sum(cost.seconds for cost in costs_all))}, {human_bytes(disk)} of disk "
        f"({human_bytes(_free(paths))} free), at most {human_bytes(memory)} of memory; nothing was changed",
    )


def _free(paths: Paths) -> int:
    there = next(folder for folder in (paths.root, *paths.root.parents) if folder.exists())
    return shutil.disk_usage(there).free


def human_seconds(seconds: float) -> str:
    """`95` -> `1 min 35 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
