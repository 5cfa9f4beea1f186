"""The record of one pass of a streamed teacher over a text: which text, how far, and in which file the states are.

The one idea: files first, record second. The record names a file of hidden states only after it is whole, and the file
before it goes only after the record has moved on; so at any instant there is one state to go on from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from nexus.core.files import atomic_write_text, kill_point, remove_stale_temporaries
from nexus_final.hidden_states import Committed, HiddenStates

LOG = logging.getLogger("nexus_final.sli")
RECORD = "pass.json"
FORMAT = 1


@dataclass(frozen=True)
class Pass:
    """A pass in ``folder``. ``stage``: 0 nothing yet, 1 embedded, 1 + n after n layers.

    Attributes:
        blocks: for each block of text (by hash of its tokens) its first sequence and number of sequences.
        length: tokens of a sequence.
    """

    folder: Path
    identity: str
    blocks: dict[str, tuple[int, int]]
    length: int
    stage: int = 0
    committed: Committed | None = None

    @property
    def sequences(self) -> int:
        """Sequences of all blocks."""
        return sum(count for _, count in self.blocks.values())

    def part(self, block: str) -> slice:
        """Where a block's sequences lie."""
        first, count = self.blocks[block]
        return slice(first, first + count)

    def batches(self, block: str, rows: int) -> list[slice]:
        """A block's sequences by ``rows``: cut inside blocks, so that a block's bits don't depend on its company."""
        part = self.part(block)
        return [slice(i, min(i + rows, part.stop)) for i in range(part.start, part.stop, rows)]

    @classmethod
    def begin(cls, folder: Path, identity: str, blocks: Sequence[Tensor]) -> Pass:
        """A new pass over blocks (B, T) of one T; nothing is written yet."""
        places: dict[str, tuple[int, int]] = {}
        first = 0
        for ids in blocks:
            if digest(ids) not in places:
                places[digest(ids)] = (first, len(ids))
                first += len(ids)
        return cls(folder, identity, places, blocks[0].shape[1])

    @classmethod
    def find(cls, folder: Path, identity: str) -> Pass | None:
        """The pass that was begun in ``folder``; None if there is none, or one of another teacher (it is deleted)."""
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        places = {block: (first, count) for block, (first, count) in record["blocks"].items()}
        found = cls(
            folder, record["identity"], places, record["length"], record["stage"], Committed(*record["committed"])
        )
        if record["format"] == FORMAT and found.identity == identity:
            return found
        LOG.warning("%s holds a pass of another teacher: removed", folder)
        found.discard()
        return None

    def commit(self, states: HiddenStates, stage: int) -> Pass:
        """Write the states and then the record; returns the pass as it stands now."""
        committed = states.commit(f"hidden-{stage:04d}.bin")
        kill_point("sli.states_written")
        now = replace(self, stage=stage, committed=committed)
        record = {
            "format": FORMAT,
            "identity": self.identity,
            "blocks": self.blocks,
            "length": self.length,
            "stage": stage,
            "committed": committed,
        }
        atomic_write_text(self.folder / RECORD, json.dumps(record))
        kill_point("sli.committed")
        for file in self.folder.glob("hidden-*.bin"):
            if file.name != committed.file:
                file.unlink()
        return now

    def discard(self) -> None:
        """Delete the record, then the states, and the folder if nothing else is in it."""
        clear(self.folder)


def clear(folder: Path) -> None:
    """Delete what passes have left in ``folder``; what isn't theirs stays."""
    (folder / RECORD).unlink(missing_ok=True)
    if folder.is_dir():
        remove_stale_temporaries(folder)
        for file in folder.glob("hidden-*.bin"):
            file.unlink()
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


def digest(ids: Tensor) -> str:
    """Hash of a block's tokens (B, T) and shape."""
    return hashlib.sha256(f"{tuple(ids.shape)}".encode() + ids.contiguous().numpy().tobytes()).hexdigest()
