"""What all readers share: tokens that know their line and column, and the fault that names line, token and cure."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Token:
    """A piece of text and where it stands, counted from 1."""

    text: str
    line: int
    column: int


class SyntaxFault(ValueError):
    """Text that a reader cannot read: where, which token, what is wrong with it, and the cure."""

    def __init__(self, token: Token, problem: str, cure: str) -> None:
        self.token, self.problem, self.cure = token, problem, cure
        shown = repr(token.text) if token.text else "the end"
        super().__init__(f"line {token.line}, column {token.column}: {shown} {problem}. cure: {cure}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.token, self.problem, self.cure)


def tokens(text: str, pattern: re.Pattern[str]) -> list[Token]:
    """The pieces that the pattern finds.

    Raises:
        SyntaxFault: something between the pieces is not white space.
    """
    found, end, starts = [], 0, _line_starts(text)
    for match in pattern.finditer(text):
        _only_space(text, end, match.start(), starts)
        found.append(Token(match[0], *_place(match.start(), starts)))
        end = match.end()
    _only_space(text, end, len(text), starts)
    return found


def _only_space(text: str, start: int, end: int, starts: list[int]) -> None:
    for offset in range(start, end):
        if not text[offset].isspace():
            raise SyntaxFault(Token(text[offset], *_place(offset, starts)), "is no sign that is known", "take it out")


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer("\n", text))]


def _place(offset: int, starts: list[int]) -> tuple[int, int]:
    from bisect import bisect_right

    line = bisect_right(starts, offset)
    return line, offset - starts[line - 1] + 1


class Cursor:
    """Reads a list of tokens from left to right."""

    def __init__(self, stream: list[Token]) -> None:
        self.stream, self.position = stream, 0

    @property
    def token(self) -> Token:
        """The next token; an empty one at the end."""
        if self.position < len(self.stream):
            return self.stream[self.position]
        last = self.stream[-1] if self.stream else Token("", 1, 1)
        return Token("", last.line, last.column + len(last.text))

    @property
    def done(self) -> bool:
        """Whether everything has been read."""
        return self.position >= len(self.stream)

    def take(self) -> Token:
        """The next token, read."""
        token = self.token
        self.position += 1
        return token

    def accept(self, *texts: str) -> bool:
        """Read the next token if it is one of these."""
        if not self.done and self.token.text in texts:
            self.position += 1
            return True
        return False

    def expect(self, text: str, cure: str) -> None:
        """Read this token.

        Raises:
            SyntaxFault: another one stands there.
        """
        if not self.accept(text):
            raise SyntaxFault(self.token, f"stands where {text!r} belongs", cure)
