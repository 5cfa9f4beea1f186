"""Blocksworld and Mystery in English, in the manner of PlanBench (Valmeekam et al. 2023, arXiv:2206.10498).

Mystery is the same world under made-up words: only the text says what the actions do.
"""

from __future__ import annotations

import itertools
import random

from nexus.reasoning.problems.base import Problem

COLOURS = ["red", "blue", "green", "yellow", "orange", "black", "white", "pink"]
_WORDS = """attack feast succumb overcome craves province planet harmony pain whisper gather wander prosper dissolve
ember lantern velvet marble thunder meadow"""
WORDS = _WORDS.split()
Towers = list[list[str]]


def towers(rng: random.Random, blocks: list[str]) -> Towers:
    """The blocks in random towers, lowest first."""
    made: Towers = []
    for block in rng.sample(blocks, len(blocks)):
        if made and rng.random() < 0.5:
            rng.choice(made).append(block)
        else:
            made.append([block])
    return made


def _facts(state: Towers) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [("empty",)]
    for tower in state:
        found += [("table", tower[0]), ("clear", tower[-1])]
        found += [("on", upper, lower) for lower, upper in itertools.pairwise(tower)]
    return found


def _task(rng: random.Random) -> tuple[Towers, list[tuple[str, ...]]]:
    blocks = rng.sample(COLOURS, rng.randint(3, 6))
    start = towers(rng, blocks)
    while True:
        goal = [f for f in _facts(towers(rng, blocks)) if f[0] == "on"]
        if goal:
            return start, goal


def blocksworld(rng: random.Random) -> Problem:
    """Three to six coloured blocks."""
    start, goal = _task(rng)
    on = rng.choice(("is on top of", "is on", "sits on"))
    words = {
        "empty": "the hand is empty",
        "table": "the {} block is on the table",
        "clear": "the {} block is clear",
        "on": f"the {{}} block {on} the {{}} block",
    }
    facts = [words[f[0]].format(*f[1:]) for f in _facts(start)]
    wanted = " and ".join(words[f[0]].format(*f[1:]) for f in goal)
    if rng.random() < 0.5:
        given = " ".join(f[0].upper() + f[1:] + "." for f in rng.sample(facts, len(facts)))
    else:
        given = f"As initial conditions I have that, {', '.join(facts[:-1])} and {facts[-1]}."
    aim = rng.choice(("The goal is that", "My goal is to have that"))
    return Problem("blocksworld", f"{given} {aim} {wanted}.", "plan")


def mystery(rng: random.Random) -> Problem:
    """The same with the words of actions and facts drawn anew for each problem."""
    start, goal = _task(rng)
    pick, put, stack, unstack, on, clear, table, empty, held = rng.sample(WORDS, 9)
    one = {
        "clear": f"{clear} object",
        "table": f"{table} object",
        "empty": empty,
        "held": f"{held} object",
        "on": f"object {on} other object",
        "under": f"{clear} other object",
    }
    actions = [
        (pick, ["clear", "table", "empty"], ["held"], ["clear", "table", "empty"]),
        (put, ["held"], ["clear", "table", "empty"], ["held"]),
        (stack, ["under", "held"], ["empty", "clear", "on"], ["under", "held"]),
        (unstack, ["on", "clear", "empty"], ["held", "under"], ["on", "clear", "empty"]),
    ]
    lines = []
    for name, needs, adds, deletes in actions:
        said = [", ".join(one[k] for k in part) for part in (needs, adds, deletes)]
        lines.append(f"To perform {name} action, the following facts need to be true: {said[0]}.")
        lines.append(f"Once {name} action is performed, the following facts will be true: {said[1]}.")
        lines.append(f"Once {name} action is performed, the following facts will be false: {said[2]}.")
    letter = {b: chr(ord("a") + i) for i, b in enumerate(sorted({b for tower in start for b in tower}))}

    def fact(f: tuple[str, ...]) -> str:
        names = [f"object {letter[b]}" for b in f[1:]]
        return {
            "empty": empty,
            "clear": f"{clear} {names[0] if names else ''}",
            "table": f"{table} {names[0] if names else ''}",
            "on": f" {on} ".join(names),
        }[f[0]]

    facts = [fact(f) for f in _facts(start)]
    lines.append(f"As initial conditions I have that, {', '.join(facts[:-1])} and {facts[-1]}.")
    lines.append(f"My goal is to have that {' and '.join(fact(f) for f in goal)}.")
    return Problem("mystery", "\n".join(lines), "plan")
