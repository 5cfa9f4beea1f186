"""What `nexus weights ACTION` prints; one function for each action."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from nexus.living.journal import Journal
from nexus.living.reach import Reach
from nexus.living.versions import PLAIN, Version, Versions


def consolidate(release: str, file: str, owner: str, folder: str, steps: int, seed: int) -> str:
    """Teach the weights what the journal holds, and let them speak if they pass."""
    import torch

    from nexus.inference.release import load_release
    from nexus.living.consolidation import ConsolidationConfig, Consolidator, low_priority
    from nexus.living.memory_command import existing
    from nexus.training.control import RunControl

    path, config = existing(file), ConsolidationConfig.from_dict({"steps": steps, "seed": seed})
    low_priority()
    torch.set_flush_denormal(True)
    loaded = load_release(release)
    made = Consolidator(loaded, folder, loaded.hash, config)
    with Journal(path) as journal, RunControl(announce=True) as control:
        version = made.run(journal, owner, control)
    if version is None:
        return "nothing new: the weights know what the journal holds"
    return f"{_line(version, version.admitted)}\n{_figures(version)}"


def log(owner: str, folder: str) -> str:
    """All versions; * marks the one that speaks."""
    versions = Versions(folder, owner)
    chosen = versions.chosen()
    lines = [_line(version, version.name == chosen) for version in versions.all()]
    return "\n".join([f"{'*' if chosen == PLAIN else ' '} {PLAIN}", *lines])


def show(owner: str, folder: str, version: str) -> str:
    """What the gates measured of a version, and where it speaks."""
    versions = Versions(folder, owner)
    found = versions.get(version)
    return f"{_line(found, False)}\n    speaks {Reach.load(versions.path(found)).words()}\n{_figures(found)}"


def rollback(owner: str, folder: str, version: str | None) -> str:
    """Let an earlier version speak, or the release as it is."""
    versions = Versions(folder, owner)
    versions.rollback(version)
    return f"{versions.chosen()} speaks from the next request on; certificates made before are void"


def settle(file: str, owner: str, folder: str) -> str:
    """Erase the versions that hold what was forgotten since."""
    from nexus.living.consolidation import settle as erase
    from nexus.living.memory_command import existing

    versions = Versions(folder, owner)
    with Journal(existing(file)) as journal:
        gone = erase(versions, journal)
    return f"erased {', '.join(gone) or 'nothing'}; {versions.chosen()} speaks"


def after_forgetting(journal: Journal, owner: str, folder: str) -> str:
    """What `nexus memory forget` adds: weights that learnt it go as well."""
    if not Path(folder).is_dir():
        return ""
    from nexus.living.consolidation import settle as erase

    gone = erase(Versions(folder, owner), journal)
    return f"weights that had learnt it are erased: {', '.join(gone)}\n" if gone else ""


def _line(version: Version, speaks: bool) -> str:
    at = datetime.fromtimestamp(version.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    verdict = "admitted" if version.admitted else f"refused: {'; '.join(version.reasons)}"
    return (
        f"{'*' if speaks else ' '} {version.name}  {at}  {len(version.facts)} facts, from {version.parent}  {verdict}"
    )


def _figures(version: Version) -> str:
    return "\n".join(f"    {name:<22} {value:.4f}" for name, value in version.figures.items())
