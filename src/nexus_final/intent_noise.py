"""Texts that no intent fits, for the router's abstain class: noise of several families, other families in each split.

The one idea: a router that only learnt the look of one kind of noise would fail on the next, so the test's families
are ones that training never showed. All made here, each text from its own seed.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable

from nexus.data.text import Split
from nexus_final.intent_bank import LANGUAGES

Family = Callable[[random.Random], str]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_WORD_LIST = (
    "table window quickly seven blue under engine soft because market left paper stone whisper twelve above fish "
    "carry never glass button winter sudden orange follow without drum silver maybe ladder cold across tomorrow"
)
_WORDS = _WORD_LIST.split()
_MARKS = "#%&*+/<=>@^_|~$!"


def noise(split: Split, count: int) -> list[str]:
    """Return `count` different texts of the split's families, the same ones every time."""
    found: dict[str, None] = {}
    families = FAMILIES[split]
    serial = 0
    while len(found) < count:
        source = random.Random(f"{split}:{serial}")
        found[families[serial % len(families)](source)] = None
        serial += 1
    return list(found)


def _random_letters(source: random.Random) -> str:
    return " ".join("".join(source.choices(_LETTERS, k=source.randint(2, 9))) for _ in range(source.randint(3, 12)))


def _keyboard(source: random.Random) -> str:
    row = source.choice(_ROWS)
    return " ".join("".join(source.choices(row, k=source.randint(4, 12))) for _ in range(source.randint(1, 5)))


def _salad(source: random.Random) -> str:
    return " ".join(source.choices(_WORDS, k=source.randint(6, 16)))


def _repeated(source: random.Random) -> str:
    return " ".join([source.choice(("ba", "la", "tik", "mo", "zu", "hm", "ka"))] * source.randint(6, 20))


def _hex(source: random.Random) -> str:
    return " ".join(source.randbytes(source.randint(2, 6)).hex() for _ in range(source.randint(2, 6)))


def _no_vowels(source: random.Random) -> str:
    words = source.choices(_WORDS, k=source.randint(5, 12))
    return " ".join("".join(letter for letter in word if letter not in "aeiou") for word in words)


def _marks(source: random.Random) -> str:
    return "".join(source.choices(_MARKS, k=source.randint(8, 30)))


def _base64(source: random.Random) -> str:
    return base64.b64encode(source.randbytes(source.randint(12, 40))).decode()


def _backwards(source: random.Random) -> str:
    return " ".join(source.choices(_WORDS, k=source.randint(5, 12)))[::-1]


def _digits_and_marks(source: random.Random) -> str:
    return "".join(source.choices("0123456789" + _MARKS + " ", k=source.randint(15, 50))).strip() or "#"


def _foreign(split: Split) -> Family:
    def make(source: random.Random) -> str:
        sentences = []
        for _ in range(source.randint(1, 3)):
            subjects, verbs, objects = source.choice(LANGUAGES[split])
            sentences.append(f"{source.choice(subjects)} {source.choice(verbs)} {source.choice(objects)}")
        return " ".join(sentences)

    return make


FAMILIES: dict[Split, tuple[Family, ...]] = {
    "train": (_random_letters, _keyboard, _salad, _repeated, _foreign("train")),
    "heldout": (_hex, _no_vowels, _marks, _foreign("heldout")),
    "test": (_base64, _backwards, _digits_and_marks, _foreign("test")),
}
