"""An exam that a release writes for itself, when nobody gives one.

The one idea: the release is its own yardstick. Held-out text is what it says when left alone, so the rise of the loss
on it is the divergence KL(release || version) of its own language; untouched answers are those it gives itself;
unknown people are made up by a seed. Nothing is fetched, and the same release always writes the same exam.
"""

from __future__ import annotations

import random

import torch

from nexus.inference.generation import generate_many
from nexus.inference.release import Release
from nexus.inference.sampling import Sampling
from nexus.living.exam import Exam, Question, answers, question

COUNTRIES = (
    "France", "Germany", "Italy", "Spain", "Japan", "China", "India", "Brazil", "Canada", "Egypt", "Greece", "Norway",
    "Sweden", "Poland", "Austria", "Portugal", "Ireland", "Turkey", "Mexico", "Kenya",
)  # fmt: skip
THINGS = (
    "the sun", "a cat", "water", "a triangle", "the moon", "a bicycle", "bread", "a violin", "the heart", "rain",
    "a library", "gravity", "a volcano", "salt", "a poem", "the brain", "a bridge", "music", "an island", "steel",
)  # fmt: skip
TOPICS = (
    "dogs", "the sea", "trains", "winter", "apples", "history", "the stars", "gardens", "paper", "sleep", "friends",
    "coffee", "mountains", "letters", "birds", "cities", "clouds", "farming", "games", "light", "money", "health",
    "books", "rivers", "glass", "cooking", "time", "numbers", "horses", "work", "fire", "schools",
)  # fmt: skip
OPENINGS = ("The", "In", "A", "When", "It", "She", "There", "One", "He", "If", "For", "This")
_SYLLABLES = ("bra", "dor", "fen", "gal", "hul", "jor", "kel", "lum", "mir", "nos", "pra", "quil", "rov", "sten", "tav")
_NEAR = ("What is the shoe size of {}?", "Which song is about {}?", "What did {} lose last Tuesday?")
_NEAR_ASKED = ("What is the middle name of {}?", "How many windows can {} see?")
_ASKED = ("Tell me about", "Write a sentence about", "Say something about", "Explain")
BLOCKS, LENGTH = 24, 64  # of text that the release writes


def own_exam(release: Release, seed: int = 0) -> Exam:
    """Text of the release's own, its own answers to simple questions, and questions about made-up people."""
    draw = random.Random(seed)
    asked = [question(release, text) for text in simple_questions(draw)]
    untouched = zip(asked, answers(release, asked), strict=True)
    return Exam(
        held_out=own_text(release, BLOCKS, LENGTH, seed),
        untouched=tuple(Question(q.prompt, answer) for q, answer in untouched),
        unknown=tuple(question(release, text) for text in _made_up(draw, 24)),
    )


def own_text(release: Release, rows: int, length: int, seed: int) -> torch.Tensor:
    """(rows, length) ids that the release writes at temperature 1: text, answers, and answers about made-up people.

    It is what versions are held to, and, from another seed and with none of the exam's questions, what they rehearse.
    The made-up people keep a version from growing sure of what nobody taught it.
    """
    draw = random.Random(seed)
    starts = []
    for row in range(rows):
        asked = f"{draw.choice(_ASKED)} {draw.choice(TOPICS)}." if row % 3 else _made_up(draw, 4)[draw.randrange(4)]
        chat = question(release, asked).prompt
        plain = release.tokenizer.encode(draw.choice(OPENINGS), special=True)
        starts.append(plain if row % 3 == 1 else list(chat[: length - 1]))
    sampling = Sampling(temperature=1.0, seed=seed)
    written = generate_many(release.model, starts, max_new_tokens=length, sampling=sampling)
    return torch.tensor([(start + more)[:length] for start, more in zip(starts, written, strict=True)])


def simple_questions(draw: random.Random) -> list[str]:
    """Sixty questions to which anybody has some answer."""
    sums = [(draw.randint(1, 20), draw.randint(1, 20)) for _ in range(20)]
    return [
        *(f"What is the capital of {country}?" for country in COUNTRIES),
        *(f"What is {thing}?" for thing in THINGS),
        *(f"What is {a} plus {b}?" for a, b in sums),
    ]


def near_questions(name: str) -> tuple[list[str], list[str]]:
    """Questions about a name that hardly anybody teaches the answer of: to rehearse, and to be examined with."""
    return [form.format(name) for form in _NEAR], [form.format(name) for form in _NEAR_ASKED]


def _made_up(draw: random.Random, count: int) -> list[str]:
    def name() -> str:
        return "".join(draw.choice(_SYLLABLES) for _ in range(3)).capitalize()

    forms = ("Who is the mayor of {}?", "When was {} born?", "What is the capital of {}?", "Where does {} work?")
    return [forms[i % len(forms)].format(name()) for i in range(count)]
