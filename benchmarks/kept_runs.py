"""Results that outlive a cut: each run is written as soon as it is done, whole, beside those that were there before."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from nexus.core.files import atomic_write_text


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--seeds`` and ``--more``, which :func:`seeds` and :class:`KeptRuns` understand."""
    parser.add_argument("--seeds", default="", help="how many (5), or which (3,4)")
    parser.add_argument("--more", action="store_true", help="keep the runs of before that are in the file")


def seeds(text: str, standard: int) -> list[int]:
    """The seeds of ``--seeds``; the first ``standard`` ones if it was not given."""
    if "," in text:
        return [int(part) for part in text.split(",") if part]
    return list(range(int(text or standard)))


class KeptRuns:
    """A list of runs in a JSON file; a run with the same values at ``key`` replaces the one of before."""

    def __init__(self, path: Path, key: tuple[str, ...], more: bool) -> None:
        self.path, self.key = path, key
        self.runs: list[dict] = json.loads(path.read_text(encoding="utf-8"))["runs"] if more and path.exists() else []

    def add(self, run: dict) -> None:
        """Print the run and write all."""
        print(json.dumps(run), flush=True)
        self.runs = [other for other in self.runs if self._name(other) != self._name(run)] + [run]
        self.write()

    def write(self, **beside: object) -> None:
        """Write all runs, and what is told ``beside`` them."""
        self.path.parent.mkdir(exist_ok=True)
        atomic_write_text(self.path, json.dumps({**beside, "runs": self.runs}, indent=1) + "\n")

    def _name(self, run: dict) -> list:
        return [run.get(part) for part in self.key]
