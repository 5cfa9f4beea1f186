"""Formulas are arithmetic over named sizes, and nothing else."""

import pytest

from nexus.zoo.arithmetic import sizes_of, value_of, values

SIZES = {"B": 2, "T": 5, "D": 4}


@pytest.mark.parametrize(("text", "value"), [("2 * D + 1", 9), ("D ** 2 // 3", 5), ("(B + T) * D / 2", 14), ("7", 7)])
def test_formulas_are_arithmetic(text, value):
    assert value_of(text, SIZES) == value


@pytest.mark.parametrize("text", ["2 * N", "__import__('os')", "D if B else T", "'a'"])
def test_anything_else_is_no_formula(text):
    with pytest.raises(ValueError, match="is neither arithmetic nor one of"):
        value_of(text, SIZES)


def test_parts_come_before_what_they_make_up():
    assert values({"inner": "2 * D", "total": "inner * B * E"}, SIZES) == {"inner": 8, "total": 64}
    assert values({"total": "D * E"}, {"D": 3, "E": 2}) == {"total": 6}
    with pytest.raises(ValueError, match="'inner' is neither"):
        values({"total": "inner * B", "inner": "2 * D"}, SIZES)


def test_sizes_are_names_and_whole_numbers():
    assert sizes_of("d_model=16, T=1_024") == {"d_model": 16, "T": 1024}


@pytest.mark.parametrize("text", ["d_model", "d_model=", "=3", "d_model=1.5", "2=3", ""])
def test_anything_else_is_no_size(text):
    with pytest.raises(ValueError, match="is no size; write NAME=NUMBER"):
        sizes_of(text)
