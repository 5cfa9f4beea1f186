"""From a release and a journal's path to a living service with all channels that there are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from nexus.inference.release import Release
from nexus.living.answers import Channel
from nexus.living.channels import Proofs, Quotations, Retriever
from nexus.living.journal import Journal
from nexus.living.living import Living
from nexus.living.own_words import open_own_words
from nexus.living.speaking import Voice

LOG = logging.getLogger("nexus.living")
MEMORY = "nexus-memory.db"
OWNER = "me"  # whose memory it is where nobody says


def open_living(
    release: Release, memory: str | Path = MEMORY, step: float | None = None, create: bool = True
) -> Living:
    """Open it in the thread that will use it.

    Args:
        release: with what `nexus certify --release` left in its folder, if anything.
        memory: the journal; without it nothing is quoted and feedback is not kept.
        step: of the adaptive threshold; None keeps the certified one.
        create: make the journal if it is not there.

    Raises:
        ValueError: a file is damaged, or an option is out of range.
    """
    own = open_own_words(release, step=step)
    voice = None if own is None else Voice(release, own.score.tokens, own.score.samples)
    journal = Journal(memory) if create or Path(memory).is_file() else None
    return Living(_checked(journal), own, voice, journal)


def _checked(journal: Journal | None) -> Mapping[Channel, Retriever]:
    channels: dict[Channel, Retriever] = {}
    try:
        channels["proof"] = Proofs()
    except ImportError as error:
        LOG.warning("no question is answered by proof: %s", error)
    if journal is not None:
        channels["memory"] = Quotations(journal)
    return channels
