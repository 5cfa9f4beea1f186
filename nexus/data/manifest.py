"""A folder that knows what it should hold: `DONE.json`, written last, lists every file with its size and SHA-256.

The one idea: a folder without a readable marker, or one whose files differ from it, counts as not there. Standard
library only.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from nexus.core.files import atomic_write_text, sha256_file

MARKER = "DONE.json"


def write_manifest(folder: Path, **facts: Any) -> dict[str, Any]:
    """Hash every file below `folder`, write the marker (atomically, last) and return it; `facts` go in beside."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": hash_once(folder / name)}
        for name in names
        if name != MARKER
    }
    manifest = {**facts, "files": files}
    atomic_write_text(folder / MARKER, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the marker of a whole folder, or None when it is missing, unreadable, or a file differs from it."""
    try:
        manifest = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        files = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if all(_matches(folder / name, facts) for name, facts in files.items()) else None


def manifest_hash(manifest: dict[str, Any]) -> str:
    """Return one hex SHA-256 over the names and hashes of all files: equal content gives equal values anywhere."""
    lines = (f"{name}\0{facts['sha256']}\n" for name, facts in sorted(manifest["files"].items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def hash_once(path: Path) -> str:
    """Return a file's SHA-256; within one process a file that wasn't touched since is read only once."""
    status = path.stat()
    return _hash(path, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _hash(path: Path, *_touched: int) -> str:
    return sha256_file(path)


def _matches(path: Path, facts: dict[str, Any]) -> bool:
    if not path.is_file() or path.stat().st_size != facts.get("bytes"):
        return False
    return hash_once(path) == facts.get("sha256")
