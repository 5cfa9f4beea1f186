"""Zebra puzzles: a hidden arrangement, and true clues until no other arrangement fits (found by trying them all)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nexus.reasoning.problems.base import NAMES, Problem, shuffled

LISTS = {
    "drink": ("drinks {}", ["tea", "milk", "water", "coffee", "juice"]),
    "pet": ("owns the {}", ["cat", "dog", "fish", "horse", "zebra"]),
    "colour": ("lives in the {} house", ["red", "green", "blue", "white", "yellow"]),
    "sport": ("likes {}", ["tennis", "chess", "golf", "football", "hockey"]),
}
Place = dict[str, int]


@dataclass(frozen=True)
class _Clue:
    text: str
    values: tuple[str, ...]
    holds: Callable[[Place], bool]


def zebra(rng: random.Random, size: int | None = None) -> Problem:
    """3 to 5 houses with three lists of values (people and two others, or three for the small ones)."""
    size = size or rng.choice((3, 4, 4, 5))
    kinds = rng.sample(list(LISTS), 2 if size > 3 else 3)
    lists = {"name": rng.sample(NAMES, size), **{k: rng.sample(LISTS[k][1], size) for k in kinds}}
    hidden = {value: place for values in lists.values() for place, value in enumerate(rng.sample(values, size), 1)}
    phrase = {v: f"the person who {LISTS[k][0].format(v)}" for k in kinds for v in lists[k]} | {
        n: n for n in lists["name"]
    }
    clues: list[_Clue] = []
    pool = list(_true_clues(rng, lists, hidden, phrase, size))
    rng.shuffle(pool)
    for clue in pool:
        clues.append(clue)
        if len(clues) >= size and len(list(itertools.islice(_arrangements(list(lists.values()), clues), 2))) == 1:
            break
    kind = rng.choice(kinds)
    value = rng.choice(lists[kind])
    owner = next(n for n in lists["name"] if hidden[n] == hidden[value])
    asked, answer = rng.choice([
        (f"Who {LISTS[kind][0].format(value)}?", owner.lower()),
        (f"In which house does {owner} live?", str(hidden[owner])),
        (f"Which {kind} does {owner} have?", value),
    ])  # fmt: skip
    intro = [f"There are {size} houses in a row, numbered 1 to {size} from left to right."]
    intro += [f"Each person has a different {k}: {', '.join(rng.sample(v, size))}." for k, v in lists.items()]
    return Problem("zebra", " ".join([*intro, *shuffled(rng, [c.text for c in clues]), asked]), answer)


def _true_clues(
    rng: random.Random, lists: dict[str, list[str]], hidden: Place, phrase: dict[str, str], size: int
) -> Iterator[_Clue]:
    kind_of = {v: k for k, several in lists.items() for v in several}
    for a, b in itertools.permutations(hidden, 2):
        gap = hidden[b] - hidden[a]
        first, second = phrase[a][0].upper() + phrase[a][1:], phrase[b]
        if gap == 0 and kind_of[a] == "name":
            yield _Clue(f"{first} {LISTS[kind_of[b]][0].format(b)}.", (a, b), _gap(a, b, {0}))
        elif gap == 1:
            how = rng.choice(("directly left of", "immediately to the left of"))
            yield _Clue(f"{first} is {how} {second}.", (a, b), _gap(a, b, {1}))
            text = rng.choice((f"{first} lives next to {second}.", f"{first} and {second} are next to each other."))
            yield _Clue(text, (a, b), _gap(a, b, {1, -1}))
        elif gap > 1:
            yield _Clue(f"{first} is somewhere to the left of {second}.", (a, b), _gap(a, b, set(range(1, size))))
            if gap == 2:
                text = f"There is one house between {phrase[a]} and {second}."
                yield _Clue(text, (a, b), _gap(a, b, {2, -2}))
    ordinals = ("first", "second", "third", "fourth", "fifth")
    for value, place in rng.sample(list(hidden.items()), size):
        first = phrase[value][0].upper() + phrase[value][1:]
        other = rng.choice([p for p in range(1, size + 1) if p != place])
        yield _Clue(f"{first} is in the {ordinals[place - 1]} house.", (value,), _at(value, {place}))
        yield _Clue(f"{first} is not in house {other}.", (value,), _at(value, set(range(1, size + 1)) - {other}))


def _gap(a: str, b: str, allowed: set[int]) -> Callable[[Place], bool]:
    return lambda place: place[b] - place[a] in allowed


def _at(value: str, allowed: set[int]) -> Callable[[Place], bool]:
    return lambda place: place[value] in allowed


def _arrangements(lists: list[list[str]], clues: list[_Clue], done: Place | None = None) -> Iterator[Place]:
    """All arrangements that the clues allow, list by list; a clue is tried as soon as its values have places."""
    done = done or {}
    if not lists:
        yield done
        return
    fresh = set(lists[0])
    ready = [c for c in clues if fresh & set(c.values) and set(c.values) <= done.keys() | fresh]
    for order in itertools.permutations(range(1, len(lists[0]) + 1)):
        places = {**done, **dict(zip(lists[0], order, strict=True))}
        if all(c.holds(places) for c in ready):
            yield from _arrangements(lists[1:], clues, places)
