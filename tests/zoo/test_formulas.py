"""The closed formulas of the zoo: each gives what is counted, at sizes that have nothing in common."""

import re

import pytest

from nexus.catalog import ROWS
from nexus.zoo import cost, formulas
from nexus.zoo.arithmetic import sizes_of, values

SECTIONS = (2, 3, 4, 5, 6, 14)
WHATEVER = {"max_length", "stored_length", "degree", "n_kv_heads"}


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


@pytest.mark.parametrize(
    ("stem", "sizes", "billions"),
    [
        (  # Jamba v0.1: "52B" (arXiv:2403.19887)
            "jamba",
            "vocab_size=65536,d_model=4096,d_ff=14336,n_heads=32,n_kv_heads=8,n_attention=4,n_mamba=28,n_experts=16,"
            "top_k=2,d_state=16,d_conv=4,expand=2",
            51.6,
        ),
        (  # Bamba-9B: 9.78 billion, says its card
            "bamba",
            "vocab_size=128256,d_model=4096,d_ff=14336,n_heads=32,n_kv_heads=8,n_attention=3,n_mamba=29,d_state=256,"
            "d_conv=4,ssm_heads=128,ssm_head_dim=64,ssm_groups=1",
            9.8,
        ),
    ],
)
def test_published_models_are_as_large_as_they_are_said_to_be(stem, sizes, billions):
    found = values(formulas.entries()[stem].formulas(), {"B": 1, "T": 1, "chunk_size": 1, **sizes_of(sizes)})
    assert found["parameters"] == pytest.approx(billions * 1e9, rel=0.005)


def test_every_proved_system_of_these_sections_has_formulas():
    lacking = [row.stem for row in ROWS if row.section.number in SECTIONS and row.proof_file.is_file()]
    assert [stem for stem in lacking if formulas.find(stem) is None] == []
