"""Where a run keeps its things, below one root folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The places of a run. Nothing is created here; whoever writes makes the folder."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).expanduser().resolve())

    @property
    def memory(self) -> Path:
        """Shards that the extraction writes."""
        return self.root / "memory"

    @property
    def checkpoints(self) -> Path:
        """Training checkpoints."""
        return self.root / "checkpoints"

    @property
    def checkpoint_latest(self) -> Path:
        """The promised name of the student during training."""
        return self.checkpoints / "checkpoint_latest.pt"

    @property
    def results(self) -> Path:
        """Profiles, reports, router weights and the state file."""
        return self.root / "results"

    @property
    def state(self) -> Path:
        """The state file (SQLite)."""
        return self.results / "state.sqlite"

    @property
    def release(self) -> Path:
        """The finished student."""
        return self.root / "nexus-release-v1"

    @property
    def logs(self) -> Path:
        """Log files."""
        return self.root / "logs"

    @property
    def train_log(self) -> Path:
        """The log of all stages."""
        return self.logs / "train.log"

    @property
    def data(self) -> Path:
        """The user's own data sets."""
        return self.root / "data"

    @property
    def lock(self) -> Path:
        """Held by the one run that works here."""
        return self.results / "run.lock"

    @property
    def control(self) -> Path:
        """Write `pause`, `checkpoint` or `stop` here to steer a run without signals."""
        return self.results / "control"

    @property
    def cache(self) -> Path:
        """Downloads and converted teachers, shared by all roots (`NEXUS_CACHE` moves it)."""
        return Path(os.environ.get("NEXUS_CACHE") or Path.home() / ".cache" / "nexus").expanduser()

    def relative(self, path: Path | str) -> str:
        """Return `path` as written into the state file: relative to the root where it lies below it."""
        path = Path(os.path.abspath(path))
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def absolute(self, stored: str) -> Path:
        """The inverse of `relative`."""
        return self.root / stored


def default_root() -> Path:
    """The project's folder when Nexus runs from its checkout, else the current folder."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "run_nexus_master.sh").exists() else Path.cwd()
