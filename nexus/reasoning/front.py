"""A language model in front of the parser: it may only say what the grammar can read.

The one idea: the model rewrites a text in controlled English; every sentence it makes is held against the grammar,
either word by word while it writes (`constrained`), or as a whole with the faults told back to it (any ``generate``).
Names and numbers that the text does not have are refused. What remains can still be a wrong reading, so the reasoner
never calls an answer that rests on it "proved".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nexus.reasoning.english.parser import parse, viable
from nexus.reasoning.english.text import NotUnderstood
from nexus.reasoning.reading import SyntaxFault, Token

PROMPT = """Rewrite the text in short sentences of these forms, and keep every name and number:
Every cat is an animal. No cat is a dog. Tom is a cat. Tom is not red. The cat chases the dog.
If someone is red and they are big then they are kind. Ann is taller than Bob. Tom has 3 apples. Tom gives 2 apples to
Ann. End with the question: Is Tom an animal? Who is the tallest? How many apples does Tom have?
Text: {text}
{faults}Rewritten:"""
_SIGNS = {".", ",", "?", "!", ":", ";"}


@dataclass
class Front:
    """A model that puts texts into controlled English.

    Attributes:
        generate: a prompt in, a text out; any model will do.
        tries: how often it may mend what was not understood.
    """

    generate: Callable[[str], str]
    tries: int = 3

    def translate(self, text: str, error: NotUnderstood) -> str:
        """In-grammar text for ``text``, of which ``error`` says what was not understood.

        Raises:
            NotUnderstood: the first faults of the text itself, if the model does not manage it in ``tries``.
        """
        faults = ""
        for _ in range(self.tries):
            made = self.generate(PROMPT.format(text=text, faults=faults)).strip()
            try:
                parse(made)
                _only_known_words(text, made)
            except NotUnderstood as fault:
                faults = f"Not understood: {fault}\n"
            else:
                return made
        raise error


def constrained(propose: Callable[[str], Iterable[str]], max_words: int = 200) -> str:
    """Write a text word by word so that it never leaves the grammar.

    Args:
        propose: for the text so far, words and signs to go on with, the best first; nothing ends the text.
        max_words: stop after so many.

    Raises:
        NotUnderstood: no proposal keeps the text within the grammar, or it ends before it asks anything.
    """
    text = ""
    for _ in range(max_words):
        proposals = list(propose(text))
        if not proposals:
            break
        longer = next((made for word in proposals if viable(made := _joined(text, word))), None)
        if longer is None:
            place = Token(proposals[0], 1, len(text) + 2)
            raise NotUnderstood([SyntaxFault(place, "leads out of the grammar", "let the model propose more words")])
        text = longer
    parse(text)
    return text


def _joined(text: str, word: str) -> str:
    return text + word if word in _SIGNS or not text else f"{text} {word}"


def _only_known_words(source: str, made: str) -> None:
    """Names and numbers of the rewritten text stand in the source."""
    known = set(re.findall(r"[\w']+", source.lower()))
    reading = parse(made)
    names = [key for key in reading.phrases if key.startswith("name:")]
    wanted = [name.removeprefix("name:") for name in names] + re.findall(r"\d+", made)
    for word in wanted:
        if not set(re.split(r"[_ ]", word)) <= known:
            place = Token(word, 1, 1)
            raise NotUnderstood([SyntaxFault(place, "is not in the text", "use only its names and numbers")])
