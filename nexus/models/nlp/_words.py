"""How GPT-2 cuts a text before its bytes are paired: letters, numbers, signs and spaces are never joined.

Written as a scan, because Python's own regular expressions don't know Unicode's classes. It follows their pattern,
``'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache

ENDINGS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
SPACES = frozenset("\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {
    chr(c) for c in range(0x2000, 0x200B)
}


@cache
def byte_letters() -> dict[int, str]:
    """A printable letter for each byte: itself where it is one, else one from U+0100 on (GPT-2's table)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(0x100 + i) for i, byte in enumerate(others)}}


def words(text: str) -> Iterator[str]:
    """The pieces of ``text``, in order; joined they are the text again."""
    start = 0
    while start < len(text):
        end = _end(text, start)
        yield text[start:end]
        start = end


def _end(text: str, start: int) -> int:
    """Where the piece that begins at ``start`` ends."""
    for ending in ENDINGS:
        if text.startswith(ending, start):
            return start + len(ending)
    first = start + 1 if text[start] == " " and start + 1 < len(text) else start  # one space may lead a piece
    kind = _kind(text[first])
    if kind != "space":
        return _run(text, first, kind)
    end = _run(text, start, "space")
    return end if end == len(text) or end - start == 1 else end - 1  # the last space is left to the next piece


def _run(text: str, start: int, kind: str) -> int:
    end = start
    while end < len(text) and _kind(text[end]) == kind:
        end += 1
    return end


@cache
def _kind(letter: str) -> str:
    if letter in SPACES:
        return "space"
    return {"L": "letter", "N": "number"}.get(unicodedata.category(letter)[0], "sign")
