"""Byte-pair encoding: a vocabulary of bytes, and of pairs that often stand side by side.

The one idea: begin with bytes, so that nothing is unknown, and make the most frequent pair of neighbours a token of its
own, again and again; a text is then read by doing the same merges in the same order. Paper: Sennrich, Haddow and Birch
2016 (arXiv:1508.07909), algorithm 1; on bytes and within words as in GPT-2 (Radford et al. 2019, section 2.2).
"""

from __future__ import annotations

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from nexus.core.files import atomic_write_text
from nexus.models.nlp._words import byte_letters, words

Pair = tuple[int, int]


class BPE:
    """Byte-level byte-pair encoding, as GPT-2, Llama 3 and SmolLM2 use it.

    Args:
        merges: pairs of tokens (as letters, see :func:`byte_letters`) in the order in which they were learnt.
        special: tokens that stand for nothing in a text; they have the first ids and are never made by :meth:`encode`.

    Attributes:
        vocab: letters of a token -> its id.
    """

    def __init__(self, merges: Sequence[tuple[str, str]], special: Sequence[str] = ()) -> None:
        self.merges, self.special = list(merges), tuple(special)
        tokens = [*special, *sorted(byte_letters().values()), *(a + b for a, b in merges)]
        self.vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
        unknown = [pair for pair in self.merges if not all(part in self.vocab for part in pair)]
        if unknown:
            raise ValueError(f"merges: {unknown[0]} joins what is no token; give the merges in the order of learning")
        self._letters = byte_letters()
        self._bytes = {letter: byte for byte, letter in self._letters.items()}
        self._token = {i: token for token, i in self.vocab.items()}
        self._rank = {(self.vocab[a], self.vocab[b]): (i, self.vocab[a + b]) for i, (a, b) in enumerate(self.merges)}
        self._word = lru_cache(maxsize=65_536)(self._encode_word)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, special: Sequence[str] = (), least: int = 2) -> Self:
        """Learn merges until there are ``vocab_size`` tokens, or no pair occurs ``least`` times.

        Raises:
            ValueError: no room for the 256 bytes and the special tokens.
        """
        start = cls([], special)
        if vocab_size < len(start.vocab):
            raise ValueError(f"vocab_size={vocab_size}: bytes and special tokens alone need {len(start.vocab)}")
        counts = Counter(word for text in texts for word in words(text))
        learner = _Learner([(start._ids(word), count) for word, count in counts.items()])
        tokens, merges = dict(start._token), []
        while len(tokens) < vocab_size and (pair := learner.best(least)) is not None:
            merges.append((tokens[pair[0]], tokens[pair[1]]))
            joined = tokens[pair[0]] + tokens[pair[1]]
            known = start.vocab.setdefault(joined, len(tokens))  # two ways to one text share a token
            tokens[known] = joined
            learner.merge(pair, known)
        return cls(merges, special)

    def __len__(self) -> int:
        return len(self.vocab)

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``; every text has some, and :meth:`decode` gives it back."""
        return [i for word in words(text) for i in self._word(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``; special tokens are left out, bytes that are no UTF-8 become U+FFFD.

        Raises:
            ValueError: an id outside of the vocabulary.
        """
        found = []
        for i in ids:
            if i not in self._token:
                raise ValueError(f"ids: {i} is outside of the vocabulary of 0 to {len(self) - 1}")
            found.append("" if self._token[i] in self.special else self._token[i])
        return bytes(self._bytes[letter] for letter in "".join(found)).decode("utf-8", errors="replace")

    def _ids(self, word: str) -> list[int]:
        return [self.vocab[self._letters[byte]] for byte in word.encode("utf-8")]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        """Merge the pair that was learnt first, wherever it stands, until there is none (the paper's section 3.2)."""
        ids = self._ids(word)
        while len(ids) > 1:
            rank, pair = min((self._rank[p][0], p) if p in self._rank else (len(self._rank), p) for p in pairwise(ids))
            if rank == len(self._rank):
                break
            ids = _joined(ids, pair, self._rank[pair][1])
        return tuple(ids)

    # ---- the format of Hugging Face tokenizers --------------------------------------------------------------------

    def save(self, path: Path | str) -> None:
        """Write a ``tokenizer.json`` that Hugging Face tokenizers loads."""
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        added = [
            {"id": self.vocab[token], "content": token, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for token in self.special
        ]  # fmt: skip
        model = {"type": "BPE", "vocab": self.vocab, "merges": [list(pair) for pair in self.merges]}
        whole: dict[str, Any] = {"version": "1.0", "added_tokens": added, "pre_tokenizer": level, "decoder": level}
        atomic_write_text(Path(path), json.dumps({**whole, "model": model}, ensure_ascii=False))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a byte-level ``tokenizer.json``.

        Raises:
            ValueError: it is of another kind, or its ids are not in the order of learning.
        """
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        model = data.get("model", {})
        if model.get("type") != "BPE" or (data.get("pre_tokenizer") or {}).get("type") != "ByteLevel":
            raise ValueError(f"{path}: is no byte-level BPE; use the tokenizers package for other kinds")
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        made = cls([(a, b) for a, b in pairs], [token["content"] for token in data.get("added_tokens", ())])
        if made.vocab != model["vocab"]:
            raise ValueError(f"{path}: its ids are not in the order of learning; use the tokenizers package for it")
        return made


class _Learner:
    """Counts of neighbouring pairs in a bag of words, kept up to date: a merge looks at the words it changes only."""

    def __init__(self, bag: list[tuple[list[int], int]]) -> None:
        self.bag = bag
        self.count: Counter[Pair] = Counter()
        self.where: dict[Pair, set[int]] = defaultdict(set)
        for i, (ids, times) in enumerate(bag):
            for pair in pairwise(ids):
                self.count[pair] += times
                self.where[pair].add(i)
        self.heap = [(-times, pair) for pair, times in self.count.items()]
        heapq.heapify(self.heap)

    def best(self, least: int) -> Pair | None:
        """The most frequent pair, of equals the one with the smallest ids; None if none occurs ``least`` times."""
        while self.heap:
            times, pair = heapq.heappop(self.heap)
            if -times == self.count[pair]:  # else an old entry; the pair stands there anew with its present count
                return pair if -times >= least else None
        return None

    def merge(self, pair: Pair, new: int) -> None:
        """Join the pair in all words."""
        changed: set[Pair] = set()
        for i in self.where.pop(pair):
            ids, times = self.bag[i]
            after = _joined(ids, pair, new)
            for old in pairwise(ids):
                self.count[old] -= times
                changed.add(old)
            for fresh in pairwise(after):
                self.count[fresh] += times
                self.where[fresh].add(i)
                changed.add(fresh)
            self.bag[i] = (after, times)
        for each in changed:
            if self.count[each] > 0:
                heapq.heappush(self.heap, (-self.count[each], each))


def _joined(ids: Sequence[int], pair: Pair, new: int) -> list[int]:
    """``ids`` with every occurrence of ``pair``, from the left, as ``new``."""
    found: list[int] = []
    i = 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            found.append(new)
            i += 2
        else:
            found.append(ids[i])
            i += 1
    return found
