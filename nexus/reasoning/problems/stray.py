"""Texts outside of the grammar: a sound problem in which one sentence is given a twist that no formula here can hold.

What may come of such a text is a refusal. A proof of anything would be a proof about another text.
"""

from __future__ import annotations

import random

from nexus.reasoning.problems.base import KINDS, NAMES, TRAITS, Problem, plural
from nexus.reasoning.problems.ontologies import ontology

TWISTS = (
    "Most {kinds} are {trait}.",
    "Few {kinds} are {trait}.",
    "Many {kinds} are not {trait}.",
    "{name} is probably {trait}.",
    "{name} might be {trait}.",
    "{name} was {trait} yesterday.",
    "{name} will be {trait} tomorrow.",
    "{kinds2} are usually {trait}.",
    "Only {kinds} are {trait}.",
    "{name} is {trait} unless {name2} is.",
    "Because {name} is {trait}, {name2} is not.",
    "{name} believes that {name2} is {trait}.",
    "{name} wants to be {trait}.",
    "{name} is almost {trait}.",
    "{name} used to be a {kind}.",
    "{name} is a former {kind}.",
    "{name} is a fake {kind}.",
    "Half of the {kinds} are {trait}.",
    "At most two {kinds} are {trait}.",
    "Exactly one {kind} is {trait}.",
    "{name} seems {trait}.",
    "{name} is more {trait} than {name2}.",
    "{name} is not only {trait} but also a {kind}.",
    "It is {trait}.",
    "He is a {kind}.",
    "{name} is {trait} or a {kind} and {trait2}.",
    "Every {kind} likes some {kind2}.",
    "{name}'s brother is {trait}.",
    "{name} should be {trait}.",
    "Nearly all {kinds} are {trait}.",
    "{kinds2} can be {trait}.",
    "{name} is as {trait} as possible.",
    "Rumour has it that {name} is {trait}.",
    "{name} is a {kind}, which is {trait}.",
    "Apart from {name}, every {kind} is {trait}.",
    "{name} told {name2} about a {kind}.",
    "The {kinds} are {trait}.",
    "{name} and {name2} are {trait}.",
    "{name} has never been {trait}.",
    "Suppose {name} were {trait}.",
    "If {name} is {trait}, it depends.",
    "Not many {kinds} are {trait}.",
    "{name} is {trait} sometimes.",
    "What is not {trait} is a {kind}!?",
)
PROSE = (
    "The committee met on Tuesday to discuss the budget, and nobody could agree on anything.",
    "She walked along the river until the light was gone.",
    "Prices rose by four percent last year.",
    "My brother, who is taller than most, sold his car to a neighbour.",
    "In 1969 people walked on the moon for the first time.",
    "It was the best of offers, it was the worst of offers.",
    "Please send the report before noon.",
    "Researchers found that sleep may help memory.",
    "Water boils at about 100 degrees at sea level.",
    "He gave her everything except his time.",
    "All that glitters is not gold, they say.",
    "No news is often good news.",
    "Three of the five boxes were empty when we opened them.",
    "Ann would have been happier in another town.",
)


def stray(rng: random.Random) -> Problem:
    """An ontology problem with one strange sentence put in anywhere before the question."""
    sound = ontology(rng)
    cut = max(sound.text.rfind(w) for w in ("True or false", "Is it true", "Does it follow"))
    given, question = sound.text[:cut].strip(), sound.text[cut:]
    lines = [line + "." for line in given.rstrip(".").split(". ")]
    name, name2 = rng.sample(NAMES, 2)
    kind, kind2 = rng.sample(KINDS, 2)
    trait, trait2 = rng.sample(TRAITS, 2)
    template = rng.choice(TWISTS) if rng.random() < 0.8 else rng.choice(PROSE)
    twist = template.format(
        name=name,
        name2=name2,
        kind=kind,
        kind2=kind2,
        kinds=plural(kind),
        kinds2=plural(kind).capitalize(),
        trait=trait,
        trait2=trait2,
    )
    lines.insert(rng.randint(0, len(lines)), twist)
    return Problem("stray", " ".join([*lines, question]), "refused")
