"""Which pairs of positions a sparse attention keeps.

The one idea: a pattern is a rule for single pairs, and a list of the blocks of keys that each block of queries needs;
patterns are joined with ``|``. Papers: Child et al. 2019 (arXiv:1904.10509), section 4.2 (strided, fixed); Beltagy et
al. 2020 (arXiv:2004.05150), section 3.1 (window, global); Zaheer et al. 2020 (arXiv:2007.14062), section 2 (random).
"""

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Pattern(ABC):
    """A rule over pairs of a query position and a key position."""

    @abstractmethod
    def seen(self, query: Tensor, key: Tensor) -> Tensor:
        """Whether queries at positions ``query`` see keys at positions ``key``; both broadcast."""

    @abstractmethod
    def sees_block(self, row: int, column: int, block: int) -> bool:
        """Whether any query of block ``row`` sees any key of block ``column``."""

    def columns(self, row: int, block: int, n_blocks: int) -> list[int]:
        """All key blocks that block ``row`` needs, in order."""
        return [column for column in range(n_blocks) if self.sees_block(row, column, block)]

    def __or__(self, other: "Pattern") -> "Pattern":
        return Union((self, other))

    def dense(self, length: int, causal: bool = False) -> Tensor:
        """The pattern as a (T, T) mask, to look at and to test with."""
        at = torch.arange(length)
        mask = self.seen(at[:, None], at)
        return mask & (at[:, None] >= at) if causal else mask


@dataclass(frozen=True)
class Union(Pattern):
    """What any of its patterns keeps."""

    parts: tuple[Pattern, ...]

    def seen(self, query: Tensor, key: Tensor) -> Tensor:
        mask = self.parts[0].seen(query, key)
        for part in self.parts[1:]:
            mask = mask | part.seen(query, key)
        return mask

    def sees_block(self, row: int, column: int, block: int) -> bool:
        return any(part.sees_block(row, column, block) for part in self.parts)

    def columns(self, row: int, block: int, n_blocks: int) -> list[int]:
        return sorted({column for part in self.parts for column in part.columns(row, block, n_blocks)})


@dataclass(frozen=True)
class Window(Pattern):
    """Keys at most ``before`` positions back and ``after`` ahead (sliding window)."""

    before: int
    after: int = 0

    def seen(self, query: Tensor, key: Tensor) -> Tensor:
        gap = query - key
        return (gap <= self.before) & (gap >= -self.after)

    def sees_block(self, row: int, column: int, block: int) -> bool:
        return column in self.columns(row, block, column + 1)

    def columns(self, row: int, block: int, n_blocks: int) -> list[int]:
        first = max(0, row * block - self.before) // block
        return list(range(first, min(n_blocks - 1, ((row + 1) * block - 1 + self.after) // block) + 1))


@dataclass(frozen=True)
class Strided(Pattern):
    """Every ``stride``-th key, counted from the query; with ``Window(stride)`` it is the paper's strided attention."""

    stride: int

    def seen(self, query: Tensor, key: Tensor) -> Tensor:
        return (query - key) % self.stride == 0

    def sees_block(self, row: int, column: int, block: int) -> bool:
        low, high = (row - column) * block - block + 1, (row - column) * block + block - 1
        return high // self.stride * self.stride >= low


@dataclass(frozen=True)
class Fixed(Pattern):
    """Stretches of ``stride`` positions: all of one's own, and the last ``summary`` of every one (fixed attention)."""

    stride: int
    summary: int = 1

    def seen(self, query: Tensor, key: Tensor) -> Tensor:
        own = query.div(self.stride, rounding_mode="floor") == key.div(self.stride, rounding_mode="floor")
        return own | (key % self.stride >= self.stride - self.summary)

    def sees_block(self, row: int, column: int, block: int) -> bool:
        rows, columns = (torch.arange(block) + at * block for at in (row, column))
        return bool(self.seen(rows[:, None], columns).any())


@dataclass(frozen=True)
class Global(Pattern):
    """The first ``tokens`` positions see all and are seen by all."""

    tokens: int

    def seen(self, query: Tensor, key: Tensor) -> Tensor:
        return (query < self.tokens) | (key < self.tokens)

    def sees_block(self, row: int, column: int, block: int) -> bool:
        return min(row, column) * block < self.tokens

    def columns(self, row: int, block: int, n_blocks: int) -> list[int]:
        end = n_blocks if row * block < self.tokens else -(-self.tokens // block)
        return list(range(min(end, n_blocks)))


@dataclass(frozen=True)
class RandomBlocks(Pattern):
    """Each stretch of ``size`` queries sees ``count`` stretches of keys, drawn from the first ``among`` (BigBird)."""

    size: int
    count: int
    among: int
    seed: int = 0

    def drawn(self, stretch: int) -> list[int]:
        """The stretches of keys that stretch ``stretch`` of queries sees."""
        return random.Random(self.seed * 1_000_003 + stretch).sample(range(self.among), min(self.count, self.among))

    def seen(self, query: Tensor, key: Tensor) -> Tensor:
        query, key = (t.div(self.size, rounding_mode="floor") for t in (query, key))
        table = torch.zeros(int(query.max()) + 1, max(int(key.max()) + 1, self.among), dtype=torch.bool)
        for row in query.unique().tolist():
            table[row, self.drawn(row)] = True
        return table.to(query.device)[query, key]

    def sees_block(self, row: int, column: int, block: int) -> bool:
        rows, columns = (
            range(at * block // self.size, (at * block + block - 1) // self.size + 1) for at in (row, column)
        )
        return any(set(columns) & set(self.drawn(stretch)) for stretch in rows)
