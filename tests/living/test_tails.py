"""A value ends where what is said ends, and never loses a name, a number or all of its words."""

from __future__ import annotations

import pytest

from nexus.living.facts import Fact
from nexus.living.passages import cut
from nexus.living.tails import ended
from nexus.living.words import words


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("the Greens in elections", "the Greens"),
        ("Ida Brandt as chair", "Ida Brandt"),
        ("insulin every day", "insulin"),
        ("autumn best of all", "autumn"),
        ("182 centimetres tall", "182 centimetres"),
        ("900 people", "900"),
        ("the flute in her spare time", "the flute"),
        ("a degree in law", "a degree in law"),
        ("Anna of the hills", "Anna of the hills"),
        ("Think again", "Think again"),
        ("every day", "every day"),
        ("34 euros", "34 euros"),
    ],
)
def test_where_a_value_ends(said, kept):
    value = ended(said, words(said))
    assert said[value[0].start : value[-1].end] == kept


def _said_of(text, name):
    passage = next(cut(Fact(0, text, "")))
    return [text[slice(*one.value_at)] for one in passage.statements if one.subject == tuple(name.lower().split())]


def test_a_time_behind_a_name_belongs_to_it():
    assert _said_of("Ada's appointment is on Friday at ten.", "Ada") == ["Friday at ten"]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("Dark red is the colour Ada Lind loves.", "Ada Lind", "Dark red"),
        ("Ada Lind is a dancer who lives in Oslo.", "Ada Lind", "Oslo"),
        ("Ada Lind and Bea Holm are sisters.", "Ada Lind", "Bea Holm"),
        ("There are 900 people living in Oslo.", "Oslo", "900"),
        ("You'll find Ada Lind in Oslo.", "Ada Lind", "Oslo"),
        ("Vera Klug represents Ada Lind in court.", "Ada Lind", "Vera Klug"),
        ("People know Oslo for its soup.", "Oslo", "its soup"),
    ],
)
def test_what_is_said_of_a_name_wherever_it_stands(text, name, value):
    assert value in _said_of(text, name)


def test_who_wins_is_not_said_of_the_winner_by_the_name_alone():
    assert _said_of("The winner is Ada Lind.", "Ada Lind") == []
