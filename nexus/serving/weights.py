"""Whose weights answer: each owner's promoted version, followed while the server runs.

The one idea: the pointer on disk is the only truth. It is read (a few bytes) when a request begins, so a promotion or a
rollback by any process holds from the next request on; requests under way keep what they began with. A version speaks
where something is named that it was taught about; everywhere else the release does (:mod:`nexus.living.reach`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nexus.inference.release import Release
from nexus.living.journal import OWNER, Journal
from nexus.living.reach import Reach
from nexus.living.versions import PLAIN, Version, Versions
from nexus.training.adapters import Adapter

LOG = logging.getLogger("nexus.serving")


@dataclass(frozen=True)
class Weights:
    """What answers a request: the name of a version and its adapter, None for the release as it is.

    ``promoted`` is the owner's version, which does not speak where it does not reach.
    """

    version: str = PLAIN
    adapter: Adapter | None = None
    promoted: str = PLAIN


PLAIN_WEIGHTS = Weights()
Choose = Callable[[str, Sequence[int]], Weights]  # owner and prompt to weights; may be called from any thread


def plain(_owner: str, _prompt: Sequence[int]) -> Weights:
    """The release as it is, for everybody."""
    return PLAIN_WEIGHTS


class OwnersWeights:
    """The current version of each owner.

    Args:
        folder: of all owners' versions.
        release_hash: of the release that is served; versions of another one are not loaded.
        release: what the adapters change, and whose tokenizer reads the prompts.
    """

    def __init__(self, folder: str | Path, release_hash: str, release: Release) -> None:
        self._folder, self._hash, self._release = Path(folder), release_hash, release
        self._loaded: dict[str, tuple[str, Weights, Reach]] = {}  # owner to pointer's content and what came of it
        self._lock = threading.Lock()

    def __call__(self, owner: str, prompt: Sequence[int]) -> Weights:
        """What the owner's next request is to be answered with."""
        owner = owner or OWNER
        versions = Versions(self._folder, owner)
        with self._lock:
            wanted = versions.chosen()
            if owner not in self._loaded or self._loaded[owner][0] != wanted:
                self._loaded[owner] = wanted, *self._load(versions, wanted)
            _, weights, reach = self._loaded[owner]
        if weights.adapter is None or reach.covers(self._release.tokenizer.decode(list(prompt))):
            return weights
        return Weights(promoted=weights.promoted)

    def settle(self, owner: str, journal: Journal) -> list[str]:
        """Erase the owner's versions that learnt what was forgotten; returns their names."""
        from nexus.living.consolidation import settle

        return settle(Versions(self._folder, owner), journal)

    def _load(self, versions: Versions, wanted: str) -> tuple[Weights, Reach]:
        """The version that is wanted; if it is damaged or does not fit, the newest before it that is whole."""
        name = wanted
        while name != PLAIN:
            version: Version | None = None
            try:
                version = versions.get(name)
                if version.release != self._hash:
                    cure = "nexus weights consolidate makes a new one; with --int8 no version speaks"
                    raise ValueError(f"{name} belongs to another release. cure: {cure}")
                folder = versions.path(version)
                adapter = Adapter.load(folder, self._release.model).eval()
                return Weights(name, adapter, name), Reach.load(folder)
            except (ValueError, FileNotFoundError) as error:
                LOG.warning("weights of %s: %s; an earlier version answers", versions.owner, error)
                name = PLAIN if version is None else version.parent
        return PLAIN_WEIGHTS, Reach()
