"""Does a teacher fit into memory, or must it be streamed?"""

from __future__ import annotations

import os
from pathlib import Path

import torch

STREAM_ABOVE_BILLIONS = 60.0
_SHARE = 0.9  # the rest stays free for others, and for what an estimate forgets
_CGROUP = Path("/sys/fs/cgroup")


def should_stream(params_billions: float, bytes_needed: int, bytes_free: int | None = None) -> tuple[bool, str]:
    """Whether to stream the teacher layer by layer, and why, in words for the user.

    Args:
        bytes_needed: of the resident teacher with everything beside it.
        bytes_free: memory to be had; None asks the machine (the GPU's memory where there is one).
    """
    if params_billions > STREAM_ABOVE_BILLIONS:
        return True, f"{params_billions:g} B parameters are more than {STREAM_ABOVE_BILLIONS:g} B"
    free = free_memory() if bytes_free is None else bytes_free
    sizes = f"needs {bytes_needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free"
    if bytes_needed > _SHARE * free:
        return True, f"memory headroom is short: the teacher {sizes}"
    return False, f"the teacher fits: it {sizes}"


def free_memory() -> int:
    """Bytes that a new program could use: of the GPU if there is one, else of this machine or container."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    limit = _container_room()
    return min(_machine_room(), limit) if limit is not None else _machine_room()


def _machine_room() -> int:
    try:
        import psutil
    except ImportError:
        return _room_without_psutil()
    return int(psutil.virtual_memory().available)


def _room_without_psutil(meminfo: Path = Path("/proc/meminfo")) -> int:
    if meminfo.exists():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")


def _container_room(folder: Path = _CGROUP) -> int | None:
    """What a container's own limit (cgroup v2) leaves; None where there is no limit."""
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        cached = next(
            int(line.split()[1])
            for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines()
            if line.startswith("inactive_file ")
        )
    except (OSError, ValueError, StopIteration):
        return None
    return (
        None if limit == "max" else max(0, int(limit) - used + cached)
    )  # file pages give way when memory is asked for
