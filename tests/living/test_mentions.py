"""A sentence says something of each name in it, never of a number or a date, and never the wrong way round."""

from __future__ import annotations

import pytest

from nexus.living.facts import Fact
from nexus.living.journal import Journal
from nexus.living.passages import cut, masked
from nexus.living.retriever import Retriever


def _said(text: str) -> dict[str, tuple[str, str]]:
    passage = next(cut(Fact(1, text, "")))
    return {
        " ".join(one.subject): (text[slice(*one.value_at)], masked(passage, one, bare=True))
        for one in passage.statements
        if one.mentioned
    }


@pytest.mark.parametrize(
    ("text", "name", "value", "rest"),
    [
        ("Bea Holt treats Ada Lind.", "ada lind", "Bea Holt", "treats someone"),
        ("People praise Talor for its plum cake.", "talor", "its plum cake", "People praise someone for"),
        ("Mrs Tanner lives next door to Ada.", "ada", "Mrs Tanner", "lives next door to someone"),
        ("The warranty of Dasker ends in May 2027.", "dasker", "in May 2027", "The warranty of someone ends"),
        ("You can reach Ada Lind at 555-1234.", "ada lind", "555-1234", "You can reach someone at"),
    ],
)
def test_what_is_said_of_a_name_is_the_other_side(text, name, value, rest):
    assert _said(text)[name] == (value, rest)


@pytest.mark.parametrize(
    "text",
    ["Ada's sister is Bea.", "Bea lives in Oslo.", "Ada was born on 3 May 1950.", "Ada never met Tom.", "Who is Ada?",
     "The cellar holds old maps.", "Ada's cat is black."],
)  # fmt: skip
def test_what_is_read_already_or_is_no_name_is_not_mentioned(text):
    assert _said(text) == {}


def test_a_name_that_is_only_mentioned_answers_nothing_without_meaning(tmp_path):
    with Journal(tmp_path / "memory.db") as journal:
        journal.teach("ann", "Tom repairs Ada's bicycles.")
        assert Retriever(journal, None).ask("ann", "Who is Ada's sister?") is None
        assert Retriever(journal, None).ask("ann", "Whom does Ada repair?") is None
