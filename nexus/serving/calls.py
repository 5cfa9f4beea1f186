"""The calls of functions in an answer, read as the text comes.

The one idea: a grammar holds the form (nexus/serving/tools.py), so fixed words and the nesting of brackets are all
that has to be looked at, and arguments are passed on before they are complete.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nexus.serving.tools import CLOSE, OPEN

_HEAD = re.compile(re.escape(OPEN) + r'\{"name": "([^"]*)", "arguments": ')
_TAIL = "}" + CLOSE


@dataclass(frozen=True)
class Part:
    """A piece of an answer: more text, the name of a new call, or more of its arguments."""

    kind: Literal["text", "name", "arguments"]
    text: str


class CallReader:
    """Takes an answer apart.

    Args:
        active: False if there are no calls, only text.
    """

    def __init__(self, active: bool) -> None:
        self._held, self._in = "", "start" if active else "text"
        self._object = _Object()

    def feed(self, text: str, last: bool = False) -> Iterator[Part]:
        """The parts that this text completes; ``last`` says that no more will come."""
        self._held += text
        while part := self._next():
            yield part
        if last and self._in == "start" and self._held:  # cut off before it could be seen what it was to become
            yield Part("text", self._take(len(self._held)))

    def _next(self) -> Part | None:
        if self._in == "start" and self._held and not OPEN.startswith(self._held[: len(OPEN)]):
            self._in = "text"
        if self._in == "start" and self._held.startswith(OPEN):
            self._in = "head"
        if self._in == "tail" and self._held.startswith(_TAIL):
            self._take(len(_TAIL))
            self._in = "head"
        if self._in == "text":
            return Part("text", self._take(len(self._held))) if self._held else None
        if self._in == "head" and (head := _HEAD.match(self._held.lstrip("\n"))):
            self._held = self._held.lstrip("\n")[head.end() :]
            self._in, self._object = "arguments", _Object()
            return Part("name", head[1])
        if self._in == "arguments" and self._held:
            length = self._object.feed(self._held)
            if self._object.complete:
                self._in = "tail"
            return Part("arguments", self._take(length))
        return None

    def _take(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken


class _Object:
    """Finds the end of a JSON object in a text that comes in pieces."""

    def __init__(self) -> None:
        self._depth, self._quoted, self._escaped = 0, False, False
        self.complete = False

    def feed(self, text: str) -> int:
        """How many of these characters belong to the object."""
        for i, letter in enumerate(text):
            self._read(letter)
            if self.complete:
                return i + 1
        return len(text)

    def _read(self, letter: str) -> None:
        if self._quoted:
            ends = letter == '"' and not self._escaped
            self._escaped = letter == "\\" and not self._escaped
            self._quoted = not ends
        elif letter == '"':
            self._quoted = True
        elif letter in "{[":
            self._depth += 1
        elif letter in "}]":
            self._depth -= 1
            self.complete = self._depth == 0
