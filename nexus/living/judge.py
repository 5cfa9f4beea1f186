"""The judge: what was learnt of meaning for one embedder, kept, and the vectors of what was compared before.

The one idea: learning is a pure function of the embedder and of this package's texts, so its result is made once and
kept, in memory and in a folder, under the hash of both.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from nexus.living.asking import Query, Step
from nexus.living.bank import Floats, arranged, texts
from nexus.living.closeness import Closeness
from nexus.living.embedder import Embedder
from nexus.living.meaning import Meaning, learn
from nexus.living.passages import Entry, masked

SAME = 0.85  # the cosine from which two statements state the same relation
KEPT = 4096  # texts whose vectors are kept
FILES = ("wordings.txt", "common.txt", "relations.txt")
_learnt: dict[str, Meaning] = {}


class Judge:
    """How probably statements answer a question, by the vectors of an embedder.

    Args:
        embedder: makes them.
        folder: where what is learnt is kept from one run to the next; None for in memory only.
    """

    def __init__(self, embedder: Embedder, folder: Path | None = None) -> None:
        self._embedder, self._folder = embedder, folder
        self._meaning: Meaning | None = None
        self._kept: dict[str, Floats] = {}

    def prepare(self) -> Meaning:
        """What was learnt; some seconds where it has to be learnt now."""
        if self._meaning is None:
            self._meaning = _meaning(self._embedder, self._folder)
        return self._meaning

    def probabilities(self, query: Query, step: Step, entries: Sequence[Entry]) -> list[float]:
        """For each statement of one subject, that it is what the step asks for."""
        if not entries:
            return []
        asked, *told = self._vectors([step.masked, *texts(entries)])
        pairs = np.stack(told).reshape(len(entries), 2, -1)
        made: list[float] = self.prepare().probability(asked, pairs, query, step, entries).tolist()
        return made

    def cosine(self, text: str, entry: Entry) -> float:
        """Of a text and a statement."""
        asked, *told = self._vectors([text, *texts([entry])])
        return float(np.mean(told, axis=0) @ asked)

    def restated(self, entry: Entry, others: Sequence[Entry]) -> list[Entry]:
        """Those of the others that state the same relation of the same subject, by what they say without the value."""
        first, *rest = self._vectors([masked(*one, bare=True) for one in (entry, *others)])
        return [one for one, vector in zip(others, rest, strict=True) if float(first @ vector) >= SAME]

    def forget(self) -> None:
        """Drop all that was kept of taught texts."""
        self._kept.clear()

    def _vectors(self, wanted: Sequence[str]) -> list[Floats]:
        missing = list(dict.fromkeys(text for text in wanted if text not in self._kept))
        if len(self._kept) + len(missing) > KEPT:
            self._kept.clear()
            missing = list(dict.fromkeys(wanted))
        if missing:
            self._kept.update(zip(missing, np.asarray(self._embedder(missing), dtype=np.float64), strict=True))
        return [self._kept[text] for text in wanted]


def _meaning(embedder: Embedder, folder: Path | None) -> Meaning:
    """Learnt before in this process, or read from the folder, or learnt now."""
    if embedder.name not in _learnt:
        path = folder / f"{embedder.name}-{_digest()}.safetensors" if folder is not None else None
        if path is not None and path.is_file():
            _learnt[embedder.name] = _read(path)
        else:
            _learnt[embedder.name] = learn(embedder)
            if path is not None:
                _write(_learnt[embedder.name], path)
    return _learnt[embedder.name]


def _digest() -> str:
    """Of all that is learnt from and of the code that learns."""
    here, found = Path(__file__).parent, hashlib.sha256()
    for file in (*(here / name for name in FILES), *sorted(here.glob("*.py"))):
        found.update(file.read_bytes())
    return found.hexdigest()[:12]


def _write(made: Meaning, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        "mean": made.closeness.mean, "axes": made.closeness.axes, "spread": made.closeness.spread,
        "rows": made.bank.vectors, "weights": made.weights,
    }  # fmt: skip
    new = path.with_suffix(f".{os.getpid()}")
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, new)
    new.replace(path)  # whole or not at all


def _read(path: Path) -> Meaning:
    arrays = load_file(path)
    closeness = Closeness(arrays["mean"], arrays["axes"], arrays["spread"])
    return Meaning(closeness, arranged(arrays["rows"]).measured(closeness), arrays["weights"])
