"""The closed formulas of the zoo: each gives what is counted, at sizes that have nothing in common."""

import re

import pytest

from nexus.catalog import ROWS
from nexus.zoo import cost, formulas

SECTIONS = (2, 3, 4, 5, 6, 14)
WHATEVER = {"max_length", "stored_length", "degree"}


@pytest.mark.parametrize("stem", sorted(formulas.entries()))
def test_the_formulas_give_what_is_counted(stem):
    cost.check(formulas.entries()[stem])


@pytest.mark.parametrize("stem", sorted(formulas.entries()))
def test_no_size_is_the_same_twice(stem):
    one, other, *_ = formulas.entries()[stem].sizes
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] == other[name]] == []


@pytest.mark.parametrize(
    "stem", [s for s, e in sorted(formulas.entries().items()) if set(e.formulas().values()) != {"0"}]
)
def test_every_size_says_something(stem):
    """A size that no formula names says nothing; those that a formula holds for whatever they are, are few."""
    entry = formulas.entries()[stem]
    names = set(re.findall(r"[A-Za-z_]\w*", " ".join(entry.formulas().values())))
    assert entry.sizes[0].keys() - names <= {"B", "T", "d_model", "n_heads", *WHATEVER}


def test_every_proved_system_of_these_sections_has_formulas():
    lacking = [row.stem for row in ROWS if row.section.number in SECTIONS and row.proof_file.is_file()]
    assert [stem for stem in lacking if formulas.find(stem) is None] == []
