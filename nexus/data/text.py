"""Documents, questions, and splits that never move.

The one idea: which split a text belongs to is a hash of what it is about (its key), so it depends on nothing else: not
on order, on the machine, or on what was added later. Texts with one key (a passage under several questions, two
passages of one article) never straddle a split, and training texts that copy a run of words of a held-out one are
dropped.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "heldout", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
COPY_RUN = 24  # words in a row that make a training text a copy of a held-out one
_SALT = "nexus-split-1"
_WORDS = re.compile(r"\w+")
_BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2**64
_BASE_INVERSE = pow(_BASE, -1, 1 << 64)


@dataclass(frozen=True)
class Document:
    """A piece of running text. `key` says what it is about; texts with one key share a split."""

    id: str
    text: str
    key: str
    meta: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class QAItem:
    """A question. `answer` is None where the source gives no label; `accepted` lists further right answers."""

    id: str
    question: str
    answer: str | None
    key: str
    context: str = ""
    choices: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shares:
    """The shares of the splits. Sets that hold out more hold out a superset of what stricter ones do."""

    train: float
    heldout: float
    test: float

    def __post_init__(self) -> None:
        parts = (self.train, self.heldout, self.test)
        if min(parts) < 0 or abs(sum(parts) - 1) > 1e-9:
            raise ValueError(f"shares: {parts} must be at least 0 and sum to 1")


PROSE_SHARES = Shares(0.90, 0.05, 0.05)
QUESTION_SHARES = Shares(0.60, 0.20, 0.20)
NEVER_TRAINED = Shares(0.0, 0.5, 0.5)


def normalise(text: str) -> str:
    """Return the words of `text` in lower case with single blanks between: equal for texts that look alike."""
    return " ".join(_WORDS.findall(text.lower()))


def fold(text: str) -> str:
    """Return `text` in lower case with single blanks: a cheaper likeness than `normalise`, for many long texts."""
    return " ".join(text.lower().split())


def content_id(*parts: str) -> str:
    """Return 16 hex digits that name a text by its content."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def unit_hash(key: str, salt: str = _SALT) -> float:
    """Map a key to [0, 1), evenly and for ever the same."""
    digest = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2.0**64


def split_of(key: str, shares: Shares) -> Split:
    """Return the split of a key. Held-out keys lie at the low end, test keys at the high end, training between."""
    place = unit_hash(key)
    if place < shares.heldout:
        return "heldout"
    return "test" if place >= 1 - shares.test else "train"


def check_split(split: str) -> Split:
    """Return `split` if it is one; raises ValueError that names all."""
    for known in SPLITS:
        if split == known:
            return known
    raise ValueError(f"split: {split!r} must be one of {', '.join(SPLITS)}")


def in_split(things: Iterable[Any], split: Split, shares: Shares) -> list[Any]:
    """Return the things (with a `key`) of one split, in their order."""
    return [thing for thing in things if split_of(thing.key, shares) == split]


def deduplicate(documents: Iterable[Document]) -> list[Document]:
    """Keep the first of the documents that look alike."""
    seen: dict[str, Document] = {}
    for document in documents:
        seen.setdefault(fold(document.text), document)
    return list(seen.values())


def without_copies(documents: Sequence[Document], held_out: Iterable[Document], run: int = COPY_RUN) -> list[Document]:
    """Return the documents that share no `run` words in a row with any held-out one.

    Held-out membership depends on a text's own key only, so that it is stable; hence it is training that gives way.
    """
    runs = [_runs(document.text, run) for document in held_out]
    taken = np.unique(np.concatenate(runs)) if runs else np.zeros(0, dtype=np.uint64)
    return [document for document in documents if not _any_in(_runs(document.text, run), taken)]


class _WordHashes(dict[str, int]):
    """Word to hash, filled on demand: a language has few different words, a corpus many."""

    def __missing__(self, word: str) -> int:
        self[word] = value = zlib.crc32(word.encode())
        return value


_WORD_HASHES = _WordHashes()


def _any_in(values: NDArray[np.uint64], ascending: NDArray[np.uint64]) -> bool:
    if len(ascending) == 0:
        return False
    places = np.searchsorted(ascending, values).clip(max=len(ascending) - 1)
    return bool((ascending[places] == values).any())


def _runs(text: str, length: int) -> NDArray[np.uint64]:
    """Return a 64-bit hash of every run of `length` words: a polynomial in the words' own hashes, by sliding sums."""
    words = np.array([_WORD_HASHES[word] for word in text.lower().split()], dtype=np.uint64)
    if len(words) < length:
        return np.zeros(0, dtype=np.uint64)
    power = np.cumprod(np.full(len(words) + 1, _BASE, dtype=np.uint64))  # wraps modulo 2**64, as it should
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(words * power[1:])])
    inverse = np.cumprod(np.full(len(words) + 1, _BASE_INVERSE, dtype=np.uint64))
    return (sums[length:] - sums[:-length]) * inverse[: len(words) - length + 1]
