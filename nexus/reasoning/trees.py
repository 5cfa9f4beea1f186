"""Lists between brackets, the common form of SMT-LIB and PDDL."""

from __future__ import annotations

import re
from typing import Any

from nexus.reasoning.reading import SyntaxFault, Token, tokens

PATTERN = re.compile(r"\|[^|]*\||[()]|[^\s()|;]+")
Tree = Any  # a Token, or a list whose first item is its opening bracket


def trees(text: str) -> list[Tree]:
    """All lists and words of a text, without comments.

    Raises:
        SyntaxFault: brackets do not match.
    """
    stream = tokens(re.sub(r";[^\n]*", "", text), PATTERN)
    found, position = [], 0
    while position < len(stream):
        tree, position = _tree(stream, position)
        found.append(tree)
    return found


def _tree(stream: list[Token], position: int) -> tuple[Tree, int]:
    opened: list[list[Any]] = []
    for place in range(position, len(stream)):
        token = stream[place]
        if token.text == "(":
            opened.append([token])
            continue
        item: Tree = token
        if token.text == ")":
            if not opened:
                raise SyntaxFault(token, "closes no list", "take it out, or open a list before it")
            item = opened.pop()
        if not opened:
            return item, place + 1
        opened[-1].append(item)
    raise SyntaxFault(opened[-1][0], "opens a list that is not closed", "close every ( with a )")


def head(tree: Tree) -> str:
    """The first word of a list, in small letters; a word itself."""
    if isinstance(tree, Token):
        return tree.text.lower()
    return tree[1].text.lower() if len(tree) > 1 and isinstance(tree[1], Token) else ""


def where(tree: Tree) -> Token:
    """The token to point at when something is wrong with a tree."""
    if isinstance(tree, Token):
        return tree
    return tree[1] if len(tree) > 1 and isinstance(tree[1], Token) else tree[0]
