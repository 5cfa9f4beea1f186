"""Sentences as tokens, the cursor that reads them, and what a text has said so far."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from nexus.reasoning.english.words import HEDGES, NUMBERS, is_open
from nexus.reasoning.formulas import Formula, Fun, Planning, Term, Theory
from nexus.reasoning.reading import Cursor, SyntaxFault, Token

_PIECE = re.compile(r"\d+(?:\.\d+)?(?:st|nd|rd|th)?|[^\W\d_]+(?:['’-][^\W\d_]+)*|\n[ \t]*\n|\n|[^\s]")
_ENDS = {".", "?", "!"}


@dataclass
class Query:
    """What is asked.

    Attributes:
        kind: ``decide`` (is the formula true?), ``which`` (for which candidate is it?), ``value`` (how much is the
            term?), ``plan``.
        formula: for ``decide``. candidates: answer text -> formula, for ``which``. term: for ``value``.
        words: the question as it was asked.
    """

    kind: str
    words: str
    formula: Formula | None = None
    candidates: dict[str, Formula] = field(default_factory=dict)
    term: Term | None = None


@dataclass
class Reading:
    """A text as formulas: the theory, the questions, and which sentence each axiom comes from."""

    theory: Theory
    queries: list[Query]
    sources: list[str]
    planning: Planning | None = None
    phrases: dict[str, str] = field(default_factory=dict)


class NotUnderstood(ValueError):
    """Text outside of the grammar. ``faults`` holds one `SyntaxFault` for each sentence that was not understood."""

    def __init__(self, faults: list[SyntaxFault]) -> None:
        self.faults = faults
        super().__init__("; ".join(map(str, faults)))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.faults,)


def sentences(text: str) -> list[list[Token]]:
    """The sentences of a text, each with its end sign if it has one, without numbers and dashes that open a line."""
    pieces, line, start = [], 1, 0
    for match in _PIECE.finditer(text):
        newlines = text.count("\n", start, match.start())
        line += newlines
        column = match.start() - (text.rfind("\n", 0, match.start()) + 1) + 1
        pieces.append(Token(match[0].replace("’", "'"), line, column))
        line += match[0].count("\n")
        start = match.end()
    found: list[list[Token]] = [[]]
    for token, after in zip(pieces, [*pieces, Token("\n", 0, 0)][1:], strict=True):
        if token.text.startswith("\n"):
            if token.text.count("\n") > 1 or _opens_item(after):
                found.append([])
        elif token.text == "." and found[-1] and len(found[-1]) == 1 and found[-1][0].text.isdigit():
            found[-1].clear()  # "1." at the start of a line
        elif token.text in "-*•" and not found[-1]:
            continue
        else:
            found[-1].append(token)
            quoted = [t.text for t in found[-1]].count('"') % 2 == 1
            closes = token.text == '"' and not quoted and found[-1][-2:-1] and found[-1][-2].text in _ENDS
            if (token.text in _ENDS and not (quoted and after.text == '"')) or (closes and found[-1][0].text != '"'):
                found.append([])
    return [sentence for sentence in found if sentence]


def _opens_item(token: Token) -> bool:
    return token.text in "-*•" or token.text.isdigit() or token.text[:1].isupper()


class English(Cursor):
    """A cursor over one sentence that compares without regard to case."""

    def __init__(self, sentence: list[Token]) -> None:
        ended = bool(sentence) and sentence[-1].text in _ENDS
        super().__init__(sentence[:-1] if ended else sentence)
        self.end = sentence[-1].text if ended else ""
        self.whole = sentence
        self.furthest = 0
        self.unfinished = False  # whether more words could have made something fit

    @property
    def word(self) -> str:
        """The next word in small letters."""
        return self.token.text.lower()

    def peek(self, ahead: int = 1) -> str:
        """A word further on, in small letters; empty beyond the end."""
        place = self.position + ahead
        return self.stream[place].text.lower() if place < len(self.stream) else ""

    def take(self) -> Token:
        """The next token, read."""
        token = super().take()
        self.furthest = max(self.furthest, self.position)
        return token

    def accept(self, *phrases: str) -> bool:
        """Read one of these words or phrases if it comes next; the first that fits counts."""
        for phrase in phrases:
            words = phrase.split()
            rest = self.stream[self.position :]
            if len(rest) < len(words) and [t.text.lower() for t in rest] == words[: len(rest)]:
                self.unfinished = True
            if [t.text.lower() for t in self.stream[self.position : self.position + len(words)]] == words:
                self.position += len(words)
                self.furthest = max(self.furthest, self.position)
                return True
        return False

    def need(self, *phrases: str) -> None:
        """Read one of these.

        Raises:
            SyntaxFault: none of them comes next.
        """
        if not self.accept(*phrases):
            self.fail(f"stands where {' or '.join(map(repr, phrases[:4]))} belongs")

    def open_word(self, kind: str) -> str:
        """Read a noun, an adjective, a verb or a name.

        Raises:
            SyntaxFault: a word of the grammar stands there, or none.
        """
        if self.done or not is_open(self.token.text):
            doubtful = self.word in HEDGES
            cure = f"say what holds for certain, without {self.token.text!r}" if doubtful else ""
            self.fail(f"is no {kind}", cure)
        return self.take().text

    def number(self) -> str | None:
        """Read a number, in digits or as a word up to twenty; None if none comes next."""
        if not self.done and re.fullmatch(r"\d+(\.\d+)?", self.token.text):
            return self.take().text
        if self.word in NUMBERS:
            return str(NUMBERS[self.take().text.lower()])
        return None

    def fail(self, problem: str, cure: str = "") -> NoReturn:
        """Stop here.

        Raises:
            SyntaxFault: always.
        """
        raise SyntaxFault(self.token, problem, cure or "write a sentence that `nexus reason --help` shows")

    def finish(self) -> None:
        """All has to be read.

        Raises:
            SyntaxFault: something is left over.
        """
        if not self.done:
            self.fail("is more than the sentence can take", "write it as a sentence of its own, or take it out")

    def text(self) -> str:
        """The sentence as it stands in the text."""
        joined = " ".join(t.text for t in self.whole)
        return re.sub(r" ([.,?!:;)'])", r"\1", joined).replace("( ", "(")


Effect = Callable[[], None]


@dataclass
class Discourse:
    """What a text has said so far; grammars add to it when a sentence has been understood to its end."""

    axioms: list[Formula] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    sorts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: dict[Fun, tuple[int, int]] = field(default_factory=dict)
    phrases: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # key -> spelling, in order of first mention
    closed: bool = False
    memory: dict[str, object] = field(default_factory=dict)  # what single grammars keep

    def say(self, source: str, *formulas: Formula) -> None:
        """Add axioms that a sentence states."""
        self.axioms += formulas
        self.sources += [source] * len(formulas)

    def name(self, spelling: str) -> str:
        """The key of a name."""
        key = spelling.lower().replace(" ", "_").replace("-", "_")
        self.names.setdefault(key, spelling)
        return key

    def key(self, word: str) -> str:
        """The key of a predicate or noun."""
        return word.lower().replace("-", "_").replace(" ", "_")
