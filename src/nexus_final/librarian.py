"""Extraction: what a teacher thinks of every token of a text, kept on disk in some sixty bytes a token.

The one idea: the text is cut into blocks, and a block is the unit of everything: of writing (whole or not at all), of
resuming (missing blocks are made, others kept), of verification (each carries its SHA-256) and of chance (draws are
seeded by the block's number), so a cache that was interrupted and mended is the same bits as one that wasn't. ::

    librarian = Librarian("memory/smollm2", seed=0)
    report = librarian.extract(teacher, sequences)      # again after any stop: goes on
    ids, targets = Librarian("memory/smollm2").read(0)  # (B, T) and distributions at (B, T)
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nexus.core.files import atomic_write_text, kill_point, remove_stale_temporaries
from nexus.core.state_space import HybridLM
from nexus.training.control import RunControl
from nexus.training.sparse_targets import SparseTargets, check_sparsity
from nexus_final.errors import UserError
from nexus_final.shard import bytes_per_token, read_shard, shard_fault, write_shard
from nexus_final.teacher_source import BlockRequest, Progress, Sparsity, TeacherSource, as_source

LOG = logging.getLogger("nexus_final.librarian")
MANIFEST = "manifest.json"
FORMAT = 1
Guard = Callable[[Path, int], None]
"""Called with the folder and the bytes about to be written; raises if there is no room for them."""


@dataclass(frozen=True)
class ExtractionReport:
    """What an extraction did: blocks written, kept from before, and of the written ones those that were damaged."""

    tokens: int
    written: int
    kept: int
    mended: int
    bytes: int
    seconds: float

    @property
    def bytes_per_token(self) -> float:
        """Bytes on disk a token, headers included."""
        return self.bytes / max(self.tokens, 1)

    def __str__(self) -> str:
        return (
            f"{self.tokens} tokens in {self.written + self.kept} blocks ({self.kept} kept, {self.mended} mended), "
            f"{self.bytes / 2**20:.1f} MiB, {self.bytes_per_token:.1f} bytes per token, {self.seconds:.0f} s"
        )


class Librarian:
    """Writes and reads the cache of one teacher on one text in ``folder``.

    Args:
        k, samples, temperature: what is kept of a distribution (:func:`nexus.training.sparse_targets.sparsify`).
        seed: of the draws.
        block_tokens: tokens of a block, rounded to whole sequences; at most this much work is lost by a kill.
        identity: name or hash of the teacher: a cache of another one is not taken for its own.
        guard: looks whether there is room on the disk; :func:`require_room` by default.

    The settings matter for extraction only; reading goes by what the folder says.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        k: int = 8,
        samples: int = 12,
        temperature: float = 1.0,
        seed: int = 0,
        block_tokens: int = 8_192,
        identity: str = "",
        guard: Guard | None = None,
    ) -> None:
        check_sparsity(k, samples, temperature)
        if block_tokens < 1:
            raise ValueError(f"block_tokens={block_tokens}: is below 1; 8192 is usual")
        self.folder = Path(folder)
        self._sparsity, self._seed, self._block_tokens = Sparsity(k, samples, temperature), seed, block_tokens
        self._identity, self._guard = identity, guard or require_room
        self._known: dict[str, Any] | None = None

    # ---- reading --------------------------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        """What the folder holds: settings, sizes, hash of the text.

        Raises:
            UserError: nothing has been extracted here, or by another version.
        """
        if self._known is None:
            path, cure = self.folder / MANIFEST, "run the extraction first (for another place, delete the folder)"
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise UserError(str(path), "there is no cache of a teacher here", cure) from None
            except ValueError as error:
                raise UserError(str(path), f"is not readable JSON ({error})", cure) from None
            if not isinstance(known, dict) or known.get("format") != FORMAT:
                raise UserError(str(path), f"is not of format {FORMAT}", cure)
            self._known = known
        return self._known

    def __len__(self) -> int:
        """Number of blocks, those still missing included."""
        known = self.manifest()
        return -(-int(known["sequences"]) // int(known["block_sequences"]))

    def read(self, index: int) -> tuple[Tensor, SparseTargets]:
        """Block ``index``: ids (B, T) int64 and targets at (B, T).

        Raises:
            IndexError: there is no such block.
            UserError: it is missing or damaged, or belongs to another extraction.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"block {index} of {len(self)}")
        ids, targets, about = read_shard(self.path(index))
        if about != self._about(index):
            raise UserError(
                str(self.path(index)), "belongs to another extraction", "run the extraction again: it writes it anew"
            )
        return ids, targets

    def by_sequence(self) -> SequenceView:
        """The same cache, one sequence at a time."""
        return SequenceView(self)

    def missing(self) -> list[int]:
        """Blocks that are not there or not whole; reads all of them."""
        return [i for i in range(len(self)) if self._fault(i)]

    def path(self, index: int) -> Path:
        """File of a block."""
        return self.folder / f"block-{index:06d}.shard"

    # ---- writing --------------------------------------------------------------------------------------------------

    def extract(
        self,
        teacher: TeacherSource | HybridLM,
        sequences: NDArray[np.integer[Any]] | Tensor,
        *,
        control: RunControl | None = None,
        progress: Progress | None = None,
        restart: bool = False,
    ) -> ExtractionReport:
        """Write every block that isn't there yet.

        Args:
            teacher: a model in memory, or anything that is a :class:`nexus_final.teacher_source.TeacherSource`.
            sequences: (n, T) token ids.
            control: asked for a stop at safe points.
            progress: called with tokens done and a note; tokens of kept blocks come first.
            restart: a cache of other settings, text or teacher is deleted instead of refused.

        Raises:
            UserError: a cache of something else lies in the folder, or the disk has no room.
            ValueError: wrong ids.
        """
        start, source = time.monotonic(), as_source(teacher)
        ids = _checked(sequences, source.vocab_size)
        self._begin(ids, source.vocab_size, restart)
        faults = {i: fault for i in range(len(self)) if (fault := self._fault(i))}
        for index, fault in faults.items():
            if self.path(index).exists():
                LOG.warning("%s %s: it is written anew", self.path(index), fault)
        mended = sum(self.path(i).exists() for i in faults)
        self._guard(self.folder, len(faults) * self._block_bytes())
        if progress is not None and len(faults) < len(self):
            progress(ids.numel() - sum(self._rows(ids, i).numel() for i in faults), "kept")
        requests = [BlockRequest(self._rows(ids, i), self._block_seed(i)) for i in faults]
        indices = list(faults)
        for place, targets in source.sparse_blocks(requests, self._sparsity, control, progress):
            self._write(indices[place], requests[place].ids, targets)
        size = sum(self.path(i).stat().st_size for i in range(len(self)))
        report = ExtractionReport(
            ids.numel(), len(faults), len(self) - len(faults), mended, size, time.monotonic() - start
        )
        LOG.info("%s: %s", self.folder, report)
        return report

    def clear(self) -> None:
        """Delete the cache."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._known = None

    def _begin(self, ids: Tensor, vocab_size: int, restart: bool) -> None:
        """Make the folder ours: write the manifest, or find that it is the same."""
        wanted = {
            "format": FORMAT,
            **self._sparsity._asdict(),
            "seed": self._seed,
            "teacher": self._identity,
            "vocab_size": vocab_size,
            "sequences": ids.shape[0],
            "sequence_length": ids.shape[1],
            "block_sequences": max(1, self._block_tokens // ids.shape[1]),
            "text_sha256": hashlib.sha256(np.ascontiguousarray(ids.numpy()).tobytes()).hexdigest(),
            "bytes_per_token": bytes_per_token(self._sparsity.k, self._sparsity.samples, vocab_size),
        }
        self._known = None
        if (self.folder / MANIFEST).exists():
            found = self.manifest()
            differing = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
            if not differing:
                remove_stale_temporaries(self.folder)
                return
            if not restart:
                raise UserError(
                    str(self.folder),
                    f"holds a cache with another {', '.join(differing)}",
                    "choose another folder, or delete this one (or pass restart=True)",
                )
            self.clear()
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(self.folder)
        for stray in self.folder.glob("block-*.shard"):  # blocks without a manifest: nobody knows what they are
            stray.unlink()
        atomic_write_text(self.folder / MANIFEST, json.dumps(wanted, indent=2, sort_keys=True) + "\n")
        self._known = wanted

    def _write(self, index: int, ids: Tensor, targets: SparseTargets) -> None:
        self._guard(self.folder, self._block_bytes())
        write_shard(self.path(index), ids, targets, self.manifest()["vocab_size"], self._about(index))
        kill_point("librarian.block")

    def _fault(self, index: int) -> str | None:
        """None for a block of this cache, else what is wrong with it."""
        if fault := shard_fault(self.path(index)):
            return fault
        _, _, about = read_shard(self.path(index))
        return None if about == self._about(index) else "belongs to another extraction"

    def _about(self, index: int) -> dict[str, Any]:
        known = json.dumps(self.manifest(), sort_keys=True)
        return {"block": index, "manifest": hashlib.sha256(known.encode()).hexdigest()}

    def _rows(self, ids: Tensor, index: int) -> Tensor:
        count = self.manifest()["block_sequences"]
        return ids[index * count : (index + 1) * count]

    def _block_seed(self, index: int) -> int:
        digest = hashlib.sha256(f"{self._seed}:{index}".encode()).digest()
        return int.from_bytes(digest[:7], "little")

    def _block_bytes(self) -> int:
        known = self.manifest()
        return int(known["bytes_per_token"]) * int(known["block_sequences"]) * int(known["sequence_length"]) + 1024


class SequenceView:
    """The sequences of a cache: ``len(view)``, and ``view.read(i)`` gives ids (1, T) and targets at (1, T)."""

    def __init__(self, librarian: Librarian) -> None:
        self._librarian = librarian

    def __len__(self) -> int:
        return int(self._librarian.manifest()["sequences"])

    def read(self, index: int) -> tuple[Tensor, SparseTargets]:
        """One sequence; raises as :meth:`Librarian.read` does."""
        block, row = divmod(index, int(self._librarian.manifest()["block_sequences"]))
        ids, targets = self._librarian.read(block)
        if row >= len(ids):
            raise IndexError(f"sequence {index} of {len(self)}")
        return ids[row : row + 1], targets[row : row + 1]


def require_room(folder: Path, needed: int, reserve: int = 256 * 2**20) -> None:
    """Raise UserError unless the disk has ``needed`` bytes, and ``reserve`` beyond them."""
    free = shutil.disk_usage(folder).free
    if free < needed + reserve:
        raise UserError(
            str(folder),
            f"needs {needed >> 20} MiB and {reserve >> 20} MiB to spare, the disk has {free >> 20} MiB",
            "free some space, or extract fewer tokens; what has been extracted is kept",
        )


def _checked(sequences: NDArray[np.integer[Any]] | Tensor, vocab_size: int) -> Tensor:
    ids = torch.as_tensor(np.asarray(sequences)).long().cpu()
    if ids.dim() != 2 or not ids.numel():
        raise ValueError(f"sequences: has shape {tuple(ids.shape)}; pass token ids (n, T), at least one")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        wrong = low if low < 0 else high
        raise ValueError(
            f"sequences: token {wrong} is outside of the teacher's vocabulary of {vocab_size}; "
            "make the ids with the teacher's own tokenizer"
        )
    return ids
