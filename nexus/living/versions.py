"""Versions of an owner's weights: every one is kept, one is current, and going back takes one rename.

The one idea: a version is a folder that never changes (an adapter and a manifest with its hash), and which one speaks
is the content of one small file that is replaced by a rename. A process that is killed at any instant leaves the old
choice or the new one. Each owner has versions of their own, so nobody's facts reach another's answers through weights.

    OWNER/0001-1a2b3c4d/    adapter_config.json, adapter_model.safetensors, manifest.json
    OWNER/current           the name of a version, or nothing: the release as it is
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from nexus.core.files import (
    atomic_folder,
    atomic_write_text,
    kill_point,
    remove_stale_temporaries,
    sha256_file,
    temporary_beside,
)

LOG = logging.getLogger("nexus.living")
MANIFEST, CURRENT, LOCK = "manifest.json", "current", "lock"
PLAIN = "release"  # the name of no version: the release as it is


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Where a version comes from and what the gates said.

    Attributes:
        parent: name of the version that it was trained from; PLAIN for the release.
        release: hash of the release that it changes; it fits no other.
        journal: head of the journal that it was trained on, and ``memory``, its version there.
        facts: numbers of the facts that are in the weights (no text: what is forgotten must be nowhere).
        admitted: whether it passed the gates; only such a version may become current.
        reasons: which gates it failed, in words.
        figures: what the gates measured.
    """

    parent: str
    release: str
    journal: str
    memory: int
    facts: tuple[int, ...]
    admitted: bool
    reasons: tuple[str, ...]
    figures: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Version(Trained):
    """What is known of one version; the manifest holds the same.

    Attributes:
        name: number and hash, such as ``0001-1a2b3c4d``; folders sort by it.
        files: SHA-256 of each file of the adapter.
        at: when, in seconds since 1970.
    """

    name: str
    files: dict[str, str]
    at: float

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest in a version's folder.

        Raises:
            ValueError: it is missing or no manifest.
        """
        try:
            content: Mapping[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            known = {field.name: content[field.name] for field in fields(cls)}
            return cls(**{**known, "facts": tuple(known["facts"]), "reasons": tuple(known["reasons"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder} is no version of weights ({error!r}). cure: delete the folder") from None


class Versions:
    """The versions of one owner.

    Args:
        folder: of all owners' versions.
        owner: whose these are; the folder's name is a hash of it, since a name may hold anything.
    """

    def __init__(self, folder: str | Path, owner: str) -> None:
        if not owner:
            raise ValueError("owner: is empty. cure: say whose weights they are")
        self.owner = owner
        self.folder = Path(folder) / hashlib.sha256(owner.encode()).hexdigest()[:16]

    # ---- reading -----------------------------------------------------------------------------------------------------

    def all(self) -> list[Version]:
        """Every version, oldest first, admitted or not."""
        return [Version.read(path) for path in self._folders()]

    def get(self, name: str) -> Version:
        """The version of this name.

        Raises:
            ValueError: there is none.
        """
        found = self.folder / name
        if not name or Path(name).name != name or not found.is_dir():
            names = ", ".join(path.name for path in self._folders()) or "none"
            raise ValueError(f"version: there is no {name!r}. cure: choose from {names}, or {PLAIN}")
        return Version.read(found)

    def chosen(self) -> str:
        """Name of the current version, read anew; PLAIN if there is none."""
        try:
            return (self.folder / CURRENT).read_text(encoding="utf-8").strip() or PLAIN
        except FileNotFoundError:
            return PLAIN

    def current(self) -> Version | None:
        """The version that speaks; None if it is the release as it is."""
        name = self.chosen()
        return None if name == PLAIN else self.get(name)

    def path(self, version: Version) -> Path:
        """Folder of a version, whole: every file has the hash that the manifest names.

        Raises:
            ValueError: a file was changed or is missing.
        """
        folder = self.folder / version.name
        for name, digest in version.files.items():
            if not (folder / name).is_file() or sha256_file(folder / name) != digest:
                raise ValueError(f"{folder / name} is damaged. cure: nexus weights rollback goes to another version")
        return folder

    def lineage(self, name: str) -> list[Version]:
        """The version of this name and all it was trained from, newest first."""
        found = []
        while name != PLAIN:
            found.append(self.get(name))
            name = found[-1].parent
        return found

    # ---- writing -----------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One consolidation at a time; going back and erasing need no lock, so that they never have to wait.

        Raises:
            ValueError: another process is at work on this owner's weights.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / LOCK, "wb") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                problem = f"weights of {self.owner}: another process consolidates them"
                raise ValueError(f"{problem}. cure: wait until it has ended") from None
            remove_stale_temporaries(self.folder)
            yield

    def add(self, adapter: Path, trained: Trained) -> Version:
        """Take a saved adapter in as a version; the same adapter from the same parent is taken once.

        What a killed process had begun to add is added whole by the next one, or was not there at all.
        """
        files = {path.name: sha256_file(path) for path in sorted(adapter.iterdir())}
        digest = hashlib.sha256(json.dumps([files, trained.parent, trained.facts]).encode()).hexdigest()[:8]
        for path in self._folders():
            if path.name.endswith(f"-{digest}"):
                return Version.read(path)
        number = max(map(_number, self._folders()), default=0) + 1
        version = Version(name=f"{number:04d}-{digest}", files=files, at=time.time(), **asdict(trained))
        with atomic_folder(self.folder / version.name) as fresh:
            for name in files:
                shutil.copyfile(adapter / name, fresh / name)
            (fresh / MANIFEST).write_text(json.dumps(asdict(version), indent=1) + "\n", encoding="utf-8")
        kill_point("versions.added")
        return version

    def promote(self, name: str) -> Version | None:
        """Make a version current, by one rename; PLAIN goes back to the release. Nothing is lost or copied.

        Raises:
            ValueError: there is none, it was not admitted, or it is damaged.
        """
        version = None if name == PLAIN else self.get(name)
        if version is not None:
            if not version.admitted:
                reasons = "; ".join(version.reasons)
                raise ValueError(f"version: {name} was not admitted ({reasons}). cure: choose one that was")
            self.path(version)
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(self.folder / CURRENT, "" if version is None else f"{name}\n")
        kill_point("versions.promoted")
        return version

    def rollback(self, name: str | None = None) -> Version | None:
        """Go back to an earlier version; to the parent of the current one if none is named.

        Raises:
            ValueError: as :meth:`promote`; or the release itself is current already.
        """
        if name is None:
            current = self.current()
            if current is None:
                raise ValueError("version: the release itself speaks already. cure: nexus weights log lists the others")
            name = current.parent
        return self.promote(name)

    def erase(self, forgotten: Collection[int]) -> list[str]:
        """Delete every version that has one of these facts in its weights; returns their names.

        If one of them is current, its newest ancestor without such a fact speaks instead: first the pointer moves,
        then the folders go, so a process killed in between leaves nothing current that was to be erased.
        """
        gone = set(forgotten)
        tainted = [version.name for version in self.all() if gone.intersection(version.facts)]
        if self.chosen() in tainted:
            clean = [v.name for v in self.lineage(self.chosen()) if v.name not in tainted]
            self.promote(clean[0] if clean else PLAIN)
        for name in tainted:
            gone_to = temporary_beside(self.folder / name)  # so that half a version is never listed
            os.replace(self.folder / name, gone_to)
            kill_point("versions.erase")
            shutil.rmtree(gone_to)
            LOG.info("weights of %s: erased %s, which had learnt what was forgotten", self.owner, name)
        return tainted

    def _folders(self) -> list[Path]:
        return sorted((path for path in self.folder.glob("[0-9]*-*") if path.is_dir()), key=_number)


def owners_with_versions(folder: str | Path) -> int:
    """For how many owners a version speaks, and not the release as it is."""
    return sum(bool(path.read_text(encoding="utf-8").strip()) for path in Path(folder).glob(f"*/{CURRENT}"))


def _number(folder: Path) -> int:
    return int(folder.name.partition("-")[0])


def weights_hash(release: str, version: str) -> str:
    """What a certificate is bound to: the release's hash if it speaks as it is, else a hash of it and the version.

    A version's name holds the hash of its content, so every promotion and every rollback gives another value, and a
    certificate made before opens nothing.
    """
    return release if version == PLAIN else hashlib.sha256(f"{release}\0{version}".encode()).hexdigest()
