"""From a release and a journal's path to a living service with all channels that there are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from nexus.data.packages import cache_root
from nexus.inference.release import Release
from nexus.living.answers import Channel
from nexus.living.channels import Proofs, Retriever
from nexus.living.embedder import Embedder, MiniLM, embedder_of
from nexus.living.journal import Journal
from nexus.living.living import Living
from nexus.living.own_words import open_own_words
from nexus.living.retriever import Retriever as Reader
from nexus.living.speaking import Voice

LOG = logging.getLogger("nexus.living")
MEMORY = "nexus-memory.db"


def open_living(
    release: Release,
    memory: str | Path = MEMORY,
    step: float | None = None,
    create: bool = True,
    embedder: str | None = None,
    at_once: bool = True,
) -> Living:
    """Open it in the thread that will use it.

    Args:
        release: with what `nexus certify --release` left in its folder, if anything.
        memory: the journal; without it nothing is quoted and feedback is not kept.
        step: of the adaptive threshold; None keeps the certified one.
        create: make the journal if it is not there.
        embedder: for questions in other words than were taught, see :func:`nexus.living.embedder.embedder_of`; None
            takes MiniLM where it can be had, and says so where it cannot.
        at_once: load the embedder now, so that no question has to wait for it; else when words alone do not answer one.

    Raises:
        ValueError: a file is damaged, or an option is out of range.
    """
    own = open_own_words(release, step=step)
    voice = None if own is None else Voice(release, own.score.tokens, own.score.samples)
    journal = Journal(memory) if create or Path(memory).is_file() else None
    return Living(_checked(journal, embedder, at_once), own, voice, journal)


def _checked(journal: Journal | None, embedder: str | None, at_once: bool) -> Mapping[Channel, Retriever]:
    channels: dict[Channel, Retriever] = {}
    try:
        channels["proof"] = Proofs()
    except ImportError as error:
        LOG.warning("no question is answered by proof: %s", error)
    if journal is not None:
        reader = Reader(journal, _embedder(embedder, at_once), folder=cache_root() / "meaning")
        if at_once:
            reader.prepare()
        channels["memory"] = reader
    return channels


def _embedder(choice: str | None, at_once: bool) -> Embedder | None:
    """Load it, or see at least that it can be loaded, so that no question fails because of it."""
    try:
        made = embedder_of(choice or "minilm")
        if made is not None and at_once:
            made(["one"])
        elif isinstance(made, MiniLM):
            made.check()
    except (ValueError, ImportError) as error:
        if choice is not None:
            raise ValueError(f"--embedder: {error}") from None
        LOG.warning("other words than were taught are not understood: %s", error)
        return None
    return made
