"""Arithmetic word problems: amounts that change hands, simulated with whole numbers."""

from __future__ import annotations

import random

from nexus.reasoning.problems.base import NAMES, Problem

THINGS = ["apple", "book", "coin", "marble", "sticker", "pencil", "cookie", "card"]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def sums(rng: random.Random, depth: int | None = None) -> Problem:
    """Two or three persons, one or two kinds of things, and up to eight changes."""
    depth = depth or rng.randint(1, 8)
    people, things = rng.sample(NAMES, rng.randint(2, 3)), rng.sample(THINGS, rng.randint(1, 2))
    amount: dict[tuple[str, str], int] = {}
    lines = []
    for thing in things:
        for number, who in enumerate(people):
            lines.append(_start(rng, amount, people[number - 1] if number else "", who, thing))
    for _ in range(depth):
        lines.append(_change(rng, amount, people, rng.choice(things)))
    thing = rng.choice(things)
    question, answer = _ask(rng, amount, people, thing)
    return Problem("sums", " ".join([*lines, question]), str(answer), depth)


def _number(rng: random.Random, value: int) -> str:
    return WORDS[value] if value < len(WORDS) and rng.random() < 0.4 else str(value)


def _count(rng: random.Random, value: int, thing: str) -> str:
    return f"{_number(rng, value)} {thing if value == 1 else thing + 's'}"


def _start(rng: random.Random, amount: dict[tuple[str, str], int], other: str, who: str, thing: str) -> str:
    kind = rng.choice(("has", "twice", "more", "fewer")) if other else "has"
    base = amount.get((other, thing), 0)
    value = rng.randint(3, 12)
    if kind == "twice":
        amount[who, thing] = 2 * base
        return f"{who} has twice as many {thing}s as {other}."
    if kind == "more":
        amount[who, thing] = base + value
        return f"{who} has {value} more {thing}s than {other}."
    if kind == "fewer" and base > 1:
        less = rng.randint(1, base - 1)
        amount[who, thing] = base - less
        return f"{who} has {less} fewer {thing}s than {other}."
    amount[who, thing] = value
    return f"{who} {rng.choice(('has', 'had', 'starts with'))} {_count(rng, value, thing)}."


def _change(rng: random.Random, amount: dict[tuple[str, str], int], people: list[str], thing: str) -> str:
    who, other = rng.sample(people, 2)
    value = rng.randint(1, 6)
    then = rng.choice(("", "Then ", "Later, "))
    if amount[who, thing] < value or rng.random() < 0.4:
        amount[who, thing] += value
        return f"{then}{who} {rng.choice(('buys', 'finds', 'gets', 'wins', 'receives'))} {_count(rng, value, thing)}."
    amount[who, thing] -= value
    if rng.random() < 0.5:
        return f"{then}{who} {rng.choice(('loses', 'sells', 'uses', 'drops'))} {_count(rng, value, thing)}."
    amount[other, thing] += value
    return f"{then}{who} " + rng.choice((f"gives {_count(rng, value, thing)} to {other}.",
                                         f"gives {other} {_count(rng, value, thing)}."))  # fmt: skip


def _ask(rng: random.Random, amount: dict[tuple[str, str], int], people: list[str], thing: str) -> tuple[str, int]:
    who, other = rng.sample(people, 2)
    end = rng.choice(("", " now", " in the end"))
    return rng.choice((
        (f"How many {thing}s does {who} have{end}?", amount[who, thing]),
        (f"How many {thing}s do {who} and {other} have together?", amount[who, thing] + amount[other, thing]),
        (f"How many more {thing}s does {who} have than {other}?", amount[who, thing] - amount[other, thing]),
    ))  # fmt: skip
