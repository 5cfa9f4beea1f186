"""Tasks whose difficulty is how far news has to travel before an answer is known.

A corridor with walls (which cells can be reached from its left end), the carries of an addition, parity of the bits
since the last mark, and a maze (which cells can be reached from the start, among trees of rooms). In all of them short
ways and long ones look alike from nearby, so there is no way around waiting. Each length is 15 % rarer than the one
before in what is tested; of the samples to learn from, a share that the learner names has all lengths alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Task(NamedTuple):
    """How to draw samples (how many, by what, the share with all lengths alike), how wide their inputs are, how cells
    meet, the most steps of thought in training; the rate of learning and the steps of training; the share of the
    samples to learn from in which all lengths are alike.
    """

    make: Callable[[int, torch.Generator, float], Batch]
    width: int
    coupling: str
    budget: int
    rate: float
    steps: int
    even: float


class Batch(NamedTuple):
    """Inputs (B, ..., width), answers (B, ...) of 0 and 1, -1 where nothing is asked, and difficulty (B,)."""

    inputs: Tensor
    answers: Tensor
    difficulty: Tensor


def mostly_small(count: int, most: int, generator: torch.Generator, even: float) -> Tensor:
    """Whole numbers (count, 1) from 1 to ``most``: each 15 % rarer than the one before; a share ``even`` all alike."""
    falling = 0.85 ** torch.arange(most)
    odds = (1 - even) * falling / falling.sum() + even / most
    return 1 + torch.multinomial(odds, count, replacement=True, generator=generator)[:, None]


def marked(count: int, length: int, generator: torch.Generator, even: float) -> tuple[Tensor, Tensor]:
    """Marks on a line (count, length), and how far each place is from the last mark at or before it, or from the start.

    Stretches between marks are evenly long, up to a bound that is drawn for each row: nothing in a stretch tells what
    lies before it.
    """
    bound = mostly_small(count, length, generator, even)
    stretches = (torch.rand(count, length, generator=generator) * (bound + 1)).long()
    places = ((stretches + 1).cumsum(1) - 1).clamp(max=length)
    marks = torch.zeros(count, length + 1, dtype=torch.bool).scatter(1, places, True)[:, :length]
    index = torch.arange(length)
    return marks, index - torch.where(marks, index, 0).cummax(1).values


def corridor(count: int, generator: torch.Generator, even: float = 0.0, length: int = 32) -> Batch:
    """A corridor with walls; a cell is reached if no wall is to its left. Difficulty: the longest open stretch."""
    walls, far = marked(count, length, generator, even)
    inputs = torch.stack([walls, ~walls, (torch.arange(length) == 0).expand_as(walls)], -1)
    return Batch(inputs.float(), (~walls).long().cumprod(1), far.amax(1))


def carry(count: int, generator: torch.Generator, even: float = 0.0, length: int = 32) -> Batch:
    """Which columns of the sum of two binary numbers carry a one, the lowest first. Difficulty: the farthest carry.

    A column of no or two ones (a mark) decides alone, a column of one hands on what comes to it; nothing comes first.
    """
    decides, far = marked(count, length, generator, even)
    twos = decides & (torch.rand(count, length, generator=generator) < 0.5)
    index = torch.arange(length)
    inputs = torch.stack([decides & ~twos, ~decides, twos, (index == 0).expand_as(twos)], -1).float()
    return Batch(inputs, twos.gather(1, index - far).long(), far.amax(1))


def parity(count: int, generator: torch.Generator, even: float = 0.0, length: int = 32) -> Batch:
    """Whether the number of ones since the last mark, its place included, is odd. Difficulty: the longest stretch."""
    marks, far = marked(count, length, generator, even)
    bits = torch.randint(2, (count, length), generator=generator)
    total = F.pad(bits.cumsum(1), (1, 0))
    since = total[:, 1:] - total.gather(1, (torch.arange(length) - far).clamp(min=0))
    fresh = marks | (torch.arange(length) == 0)
    return Batch(torch.stack([bits == 1, bits == 0, fresh], -1).float(), since % 2, far.amax(1))


def _passages(rooms: int) -> Tensor:
    """(E, 4): rooms on both sides of each wall that can be opened, and its row and column in the plane of cells."""
    found = []
    for row in range(rooms):
        for column in range(rooms - 1):
            across, down = row * rooms + column, column * rooms + row
            found += [(across, across + 1, 2 * row, 2 * column + 1), (down, down + rooms, 2 * column + 1, 2 * row)]
    return torch.tensor(found)


def _joined(count: int, rooms: int, generator: torch.Generator, even: float) -> tuple[Tensor, Tensor]:
    """Passages opened at random (count, E), never closing a circle (Kruskal), and the tree of each room (count, R)."""
    passages = _passages(rooms)
    order = torch.rand(count, len(passages), generator=generator).argsort(1)
    tree = torch.arange(rooms**2).repeat(count, 1)
    opened = torch.zeros(count, len(passages), dtype=torch.bool)
    left = mostly_small(count, rooms**2 - 1, generator, even)
    for passage in order.split(1, dim=1):
        one, other = (tree.gather(1, passages[passage[:, 0], side, None]) for side in (0, 1))
        joins = (one != other) & (left > 0)
        opened.scatter_(1, passage, joins)
        tree = torch.where(joins & (tree == other), one, tree)
        left = left - joins.long()
    return opened, tree


def maze(count: int, generator: torch.Generator, even: float = 0.0, rooms: int = 4) -> Batch:
    """Rooms and passages, in trees: which cells can be reached from the start? Difficulty: the longest way from it.

    A cell knows which of its four sides are open.
    """
    passages, side = _passages(rooms), 2 * rooms - 1
    opened, tree = _joined(count, rooms, generator, even)
    start = torch.randint(rooms**2, (count, 1), generator=generator)
    reached = (tree == tree.gather(1, start)).long()
    answers = torch.full((count, side, side), -1)
    answers[:, ::2, ::2] = reached.view(count, rooms, rooms)
    answers[:, passages[:, 2], passages[:, 3]] = torch.where(opened, reached[:, passages[:, 0]], -1)
    here = torch.zeros(count, side, side, dtype=torch.bool)
    here[:, ::2, ::2] = (torch.arange(rooms**2) == start).view(count, rooms, rooms)
    free = F.pad(answers >= 0, (1, 1, 1, 1))
    sides = [free[:, 1:-1, :-2], free[:, 1:-1, 2:], free[:, :-2, 1:-1], free[:, 2:, 1:-1]]  # open to the left, ...
    inputs = torch.stack([answers < 0, answers >= 0, here, *sides], -1).float()
    return Batch(inputs, answers, _farthest(here, answers >= 0))


def _farthest(sources: Tensor, free: Tensor) -> Tensor:
    """Steps (B,) until all free cells that can be reached from ``sources`` (B, rows, columns) have been."""
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])[None, None]
    reached, steps = sources, torch.zeros(len(sources), dtype=torch.long)
    for _ in range(free[0].numel()):
        grown = (F.conv2d(reached[:, None].float(), cross, padding=1)[:, 0] > 0) & free
        changed = (grown != reached).flatten(1).any(1)
        if not bool(changed.any()):
            break
        reached, steps = grown, steps + changed
    return steps


TASKS = {
    "corridor": Task(corridor, 3, "line", 24, 8e-3, 1_500, 1.0),
    "carry": Task(carry, 4, "line", 24, 8e-3, 1_500, 0.4),
    "parity": Task(parity, 3, "line", 24, 8e-3, 1_500, 0.4),
    "maze": Task(maze, 7, "grid", 24, 5e-3, 3_000, 0.4),
}  # fmt: skip
