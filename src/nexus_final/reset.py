"""Starting anew: deletes what the pipeline made, after looking twice, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from nexus.core.files import size_on_disk
from nexus_final.errors import UserError
from nexus_final.paths import Paths
from nexus_final.runner import dependants
from nexus_final.stage import Context, Stage


def reset_targets(paths: Paths) -> list[Path]:
    """What a full reset deletes, in this order; what isn't there is left out.

    The state file goes last: killed halfway, the next run sees from it that artefacts are missing.

    Raises:
        UserError: a symbolic link leads to one of them; nothing has been deleted then.
    """
    state = [Path(f"{paths.state}{ending}") for ending in ("-wal", "-shm", "")]
    wanted = [paths.memory, paths.checkpoints, paths.release, *state]
    there = [path for path in wanted if path.exists() or path.is_symlink()]
    for path in there:
        real = path.resolve()  # the root is resolved already: any difference comes from a link on the way
        if real != path:
            raise UserError(
                "--reset",
                f"{path} leads to {real}, which is not the pipeline's to delete",
                "empty that place by hand, remove the link, and run again",
            )
    return there


def delete(targets: Sequence[Path]) -> None:
    """Delete files and folders. Links inside a folder go, what they lead to stays."""
    for path in targets:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def describe(targets: Sequence[Path]) -> str:
    """`memory (1.2 GB), checkpoints (0.3 GB)`."""
    return ", ".join(f"{path} ({human_bytes(size_on_disk(path))})" for path in targets)


def reset_stage(name: str, stages: Sequence[Stage], ctx: Context) -> list[str]:
    """Forget a stage and all that depends on it, and delete their partial work; return their names.

    Raises:
        UserError: there is no such stage.
    """
    found = dependants(stages, name)
    if not found:
        known = ", ".join(stage.name for stage in stages)
        raise UserError("--reset", f"there is no stage {name!r}", f"name one of {known}, or none for a full reset")
    for stage in reversed(found):
        ctx.store.forget_stage(stage.name)
        stage.discard(ctx)
    ctx.event("reset", stages=[stage.name for stage in found])
    return [stage.name for stage in found]


def human_bytes(count: float) -> str:
    """`1234567` -> `1.2 MB` (decimal units, as disks are sold)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
