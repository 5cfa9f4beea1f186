"""Whose weights answer: each owner's promoted version, followed while the server runs.

The one idea: the pointer on disk is the only truth. It is read (a few bytes) when a request begins, so a promotion or a
rollback by any process holds from the next request on; requests under way keep what they began with.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nexus.core.state_space import HybridLM
from nexus.living.journal import OWNER, Journal
from nexus.living.versions import PLAIN, Version, Versions
from nexus.training.adapters import Adapter

LOG = logging.getLogger("nexus.serving")


@dataclass(frozen=True)
class Weights:
    """An adapter, None for the release as it is, and the name of its version."""

    version: str = PLAIN
    adapter: Adapter | None = None


PLAIN_WEIGHTS = Weights()
Choose = Callable[[str], Weights]  # owner to weights; may be called from any thread


def plain(_owner: str) -> Weights:
    """The release as it is, for everybody."""
    return PLAIN_WEIGHTS


class OwnersWeights:
    """The current version of each owner.

    Args:
        folder: of all owners' versions.
        release_hash: of the release that is served; versions of another one are not loaded.
        model: what the adapters change.
    """

    def __init__(self, folder: str | Path, release_hash: str, model: HybridLM) -> None:
        self._folder, self._release, self._model = Path(folder), release_hash, model
        self._loaded: dict[str, tuple[str, Weights]] = {}  # owner to pointer's content and what came of it
        self._lock = threading.Lock()

    def __call__(self, owner: str) -> Weights:
        """What the owner's next request is to be answered with."""
        owner = owner or OWNER
        versions = Versions(self._folder, owner)
        with self._lock:
            wanted = versions.chosen()
            if owner not in self._loaded or self._loaded[owner][0] != wanted:
                self._loaded[owner] = wanted, self._load(versions, wanted)
            return self._loaded[owner][1]

    def settle(self, owner: str, journal: Journal) -> list[str]:
        """Erase the owner's versions that learnt what was forgotten; returns their names."""
        from nexus.living.consolidation import settle

        return settle(Versions(self._folder, owner), journal)

    def _load(self, versions: Versions, wanted: str) -> Weights:
        """The version that is wanted; if it is damaged or does not fit, the newest before it that is whole."""
        name = wanted
        while name != PLAIN:
            version: Version | None = None
            try:
                version = versions.get(name)
                if version.release != self._release:
                    cure = "nexus weights consolidate makes a new one; with --int8 no version speaks"
                    raise ValueError(f"{name} belongs to another release. cure: {cure}")
                return Weights(name, Adapter.load(versions.path(version), self._model).eval())
            except (ValueError, FileNotFoundError) as error:
                LOG.warning("weights of %s: %s; an earlier version answers", versions.owner, error)
                name = PLAIN if version is None else version.parent
        return PLAIN_WEIGHTS
