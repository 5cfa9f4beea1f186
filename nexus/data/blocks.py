"""Running text as blocks of token ids, and a cursor over them that a killed run can take up again.

The one idea: blocks are a plain integer array (n, length), cut from the documents in a seeded order; where training
stands in it is one integer, from which epoch, order and block follow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nexus.core.files import atomic_file
from nexus.data.text import Document

Tokens = NDArray[np.int32]
_BATCH = 512


def document_separator(tokenizer: Any) -> int:
    """Return the id put between documents: `<|endoftext|>` where the vocabulary has it, else the end-of-text id.

    A chat model's end-of-text id ends a turn; the id its pre-training put between documents is the other one.
    """
    found = tokenizer.get_vocab().get("<|endoftext|>")
    if found is None:
        found = getattr(tokenizer, "eos_token_id", None)
    if found is None:
        found = getattr(tokenizer, "bos_token_id", None)
    if found is None:
        raise ValueError("tokenizer: has neither <|endoftext|> nor an end-of-text id; pass separator=ID")
    return int(found)


def encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of each text without added special tokens; takes a transformers or a plain tokenizers one."""
    if hasattr(tokenizer, "encode_batch"):
        return [encoding.ids for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    return [list(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def pack_tokens(
    documents: Iterable[Document | str], tokenizer: Any, length: int, seed: int, separator: int | None = None
) -> Tokens:
    """Join the documents in a seeded order, a separator before each, and cut into blocks.

    Args:
        length: ids in a block, at least 2.
        seed: fixes the order; the order doesn't depend on how the documents came.
        separator: id put before each document, by default `document_separator(tokenizer)`.
    Returns:
        (n, length) int32. What is left over at the end, less than a block, is dropped.
    """
    if length < 2:
        raise ValueError(f"length: {length} must be at least 2")
    mark = document_separator(tokenizer) if separator is None else separator
    texts = [document if isinstance(document, str) else document.text for document in documents]
    texts.sort(key=lambda text: hashlib.sha256(f"{seed}\0{text}".encode()).digest())
    stream: list[Tokens] = []
    for start in range(0, len(texts), _BATCH):
        for ids in encode(tokenizer, texts[start : start + _BATCH]):
            stream.append(np.asarray([mark, *ids], dtype=np.int32))
    joined = np.concatenate(stream) if stream else np.zeros(0, dtype=np.int32)
    count = len(joined) // length
    return joined[: count * length].reshape(count, length)


def echo(blocks: Any) -> Any:
    """Blocks (n, length), an array or a tensor, in which the second half says the first again: text for far recall."""
    again = blocks.copy() if isinstance(blocks, np.ndarray) else blocks.clone()
    half = -(-blocks.shape[1] // 2)
    again[:, half:] = blocks[:, : blocks.shape[1] - half]
    return again


class TokenBlocks:
    """Blocks of token ids (n, length) with an endless, seeded order in which every epoch sees every block once.

    `at(cursor)` and `batch(cursor, size)` depend on the cursor and the seed only.
    """

    def __init__(self, tokens: Tokens, seed: int = 0) -> None:
        if tokens.ndim != 2 or tokens.shape[0] == 0:
            raise ValueError(f"tokens: shape {tokens.shape} must be (n, length) with n > 0; the text is too short")
        self.tokens, self.seed = tokens, seed
        self._order: tuple[int, NDArray[np.int64]] | None = None

    @classmethod
    def load(cls, path: Path | str, seed: int = 0) -> TokenBlocks:
        """Open saved blocks, mapped from the file instead of read."""
        return cls(np.load(path, mmap_mode="r", allow_pickle=False), seed)

    def save(self, path: Path | str) -> None:
        """Write the blocks as .npy, whole or not at all."""
        with atomic_file(path) as temporary, open(temporary, "wb") as handle:
            np.save(handle, self.tokens, allow_pickle=False)

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    @property
    def length(self) -> int:
        """Ids in a block."""
        return int(self.tokens.shape[1])

    def __getitem__(self, index: int) -> Tokens:
        """Return the block at a place in the array, (length,)."""
        return np.asarray(self.tokens[index])

    def index_at(self, cursor: int) -> int:
        """Return which block comes at this place of the endless order."""
        if cursor < 0:
            raise ValueError(f"cursor: {cursor} must be at least 0")
        epoch, place = divmod(cursor, len(self))
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self)))
        return int(self._order[1][place])

    def at(self, cursor: int) -> Tokens:
        """Return the block at this place of the endless order, (length,)."""
        return self[self.index_at(cursor)]

    def batch(self, cursor: int, size: int) -> tuple[Tokens, int]:
        """Return `size` blocks from `cursor` on, (size, length), and the next cursor."""
        return np.stack([self.at(cursor + i) for i in range(size)]), cursor + size
