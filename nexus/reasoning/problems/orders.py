"""Orderings: who is taller or older (some pairs stay open), and what stands where on a shelf."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from nexus.reasoning.problems.base import NAMES, Problem, shuffled

SCALES = [("taller", "shorter", "tallest", "shortest"), ("older", "younger", "oldest", "youngest"),
          ("faster", "slower", "fastest", "slowest"), ("heavier", "lighter", "heaviest", "lightest")]  # fmt: skip


def ages(rng: random.Random, depth: int | None = None) -> Problem:
    """A chain of comparisons, one or two persons whose place in it stays open, and a question."""
    more, less, most, least = rng.choice(SCALES)
    depth = depth or rng.randint(1, 8)
    chain = rng.sample(NAMES, depth + 2)
    chain, stray = chain[:-1], chain[-1]
    lines = [rng.choice((f"{a} is {more} than {b}.", f"{b} is {less} than {a}.")) for a, b in itertools.pairwise(chain)]
    kind = rng.choice(("pair", "open", "top"))
    if kind == "top":
        asked, answer = rng.choice(
            ((f"Who is the {most}?", chain[0].lower()), (f"Who is the {least}?", chain[-1].lower()))
        )
    elif kind == "open":
        lines.append(f"{chain[0]} is {more} than {stray}.")
        asked, answer = f"Is {chain[-1]} {more} than {stray}?", "unknown"
    else:
        up = rng.random() < 0.5
        asked, answer = f"Is {chain[0]} {more if up else less} than {chain[-1]}?", "yes" if up else "no"
    return Problem("ages", " ".join([*shuffled(rng, lines), asked]), answer, depth)


def shelf(rng: random.Random) -> Problem:
    """Books on a shelf, each clue true of one order and all of them together of no other."""
    size = rng.randint(3, 5)
    order = rng.sample(["red", "green", "blue", "black", "white", "yellow", "grey", "purple"], size)
    pool: list[tuple[str, Callable[[list[str]], bool]]] = []
    for i, j in itertools.combinations(range(size), 2):
        text = rng.choice((f"The {order[i]} book is to the left of the {order[j]} book.",
                           f"The {order[j]} book is to the right of the {order[i]} book."))  # fmt: skip
        pool.append((text, _before(order[i], order[j])))
    names = ["leftmost", "second from the left", "third from the left", "fourth from the left", "rightmost"]
    for i in range(size):
        text = f"The {order[i]} book is the {names[i] if i < size - 1 else 'rightmost'}."
        pool.append((text, _stands(order[i], i)))
    rng.shuffle(pool)
    left = [list(p) for p in itertools.permutations(order)]
    clues = []
    for text, holds in pool:
        if len(left) == 1:
            break
        fewer = [o for o in left if holds(o)]
        if len(fewer) < len(left):
            clues.append(text)
            left = fewer
    intro = f"On a shelf, there are {size} books: {', '.join(f'a {c} book' for c in sorted(order))}."
    asked = rng.randrange(size)
    question = f"Which book is the {names[asked] if asked < size - 1 else 'rightmost'}?"
    return Problem("shelf", " ".join([intro, *shuffled(rng, clues), question]), order[asked])


def _before(first: str, second: str) -> Callable[[list[str]], bool]:
    return lambda order: order.index(first) < order.index(second)


def _stands(book: str, place: int) -> Callable[[list[str]], bool]:
    return lambda order: order.index(book) == place
