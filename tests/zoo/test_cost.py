"""Costs: formulas are arithmetic over named sizes, and a formula that differs from the measurement is refused."""

from dataclasses import dataclass
from types import ModuleType

import pytest
import torch
from torch import nn

from nexus.zoo import cost
from nexus.zoo.cost import Formulas, value_of
from nexus.zoo.proof import Example


def _proof(**parts) -> ModuleType:
    proof = ModuleType("proof")
    vars(proof).update(parts)
    return proof


def _linear() -> Example:
    return Example(nn.Linear(4, 3), (torch.randn(2, 5, 4),))


SIZES = {"B": 2, "T": 5, "D": 4, "F": 3}
RIGHT = {"parameters": "D * F + F", "flops": "2 * B * T * D * F", "activations": "E * B * T * D", "cache": "E * B * D"}


def test_right_formulas_are_taken():
    proof = _proof(cost=lambda e: Formulas(SIZES, **RIGHT), cache=lambda e: {"last": e.inputs[0][:, -1]})
    measured, formulas = cost.card(proof, _linear())
    assert (measured.parameters, measured.flops, measured.activations, measured.cache) == (15, 240, 160, 32)
    assert formulas.given() == RIGHT
    assert measured.seconds > 0


@pytest.mark.parametrize("name", RIGHT)
def test_a_wrong_formula_is_refused_with_both_numbers(name):
    wrong = RIGHT | {name: f"2 * ({RIGHT[name]})"}
    proof = _proof(cost=lambda e: Formulas(SIZES, **wrong), cache=lambda e: [e.inputs[0][:, -1]])
    with pytest.raises(ValueError, match=rf"^{name}: the formula .* gives \d+, measured are \d+$"):
        cost.card(proof, _linear())


def test_a_cache_formula_without_a_cache_is_refused():
    with pytest.raises(ValueError, match="nothing to measure; give the proof a `cache` function"):
        cost.card(_proof(cost=lambda e: Formulas(SIZES, cache="E")), _linear())


def test_without_formulas_only_the_measurement_counts():
    measured, formulas = cost.card(_proof(), _linear())
    assert formulas is None
    assert set(measured.known()) == {"parameters", "flops", "activations", "seconds"}


@pytest.mark.parametrize(("text", "value"), [("2 * D + 1", 9), ("D ** 2 // 3", 5), ("(B + T) * D / 2", 14), ("7", 7)])
def test_formulas_are_arithmetic(text, value):
    assert value_of(text, SIZES) == value


@pytest.mark.parametrize("text", ["2 * N", "__import__('os')", "D if B else T", "'a'"])
def test_anything_else_is_no_formula(text):
    with pytest.raises(ValueError, match="is neither arithmetic nor one of"):
        value_of(text, SIZES)


def test_shared_storage_is_kept_once_and_parameters_are_not_counted():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return x * x + x[:, :2].sum() * self.weight  # keeps x twice; the weight is a parameter

    x = torch.randn(3, 4, requires_grad=True)
    assert cost.saved_bytes(Twice(), (x,)) == x.numel() * 4 + 4  # and the sum, one number


def test_tensors_are_found_in_whatever_a_model_gives():
    @dataclass
    class Output:
        logits: torch.Tensor
        state: object = None

    one, two, three = torch.zeros(2), torch.ones(3, dtype=torch.long), torch.ones(1)
    nested = Output(one, {"cache": [two, Output(three)]})
    assert [id(t) for t in cost.tensors_of((nested, "text", 3))] == [id(one), id(two), id(three)]
    assert [t.numel() for t in cost.floats_of(nested)] == [2, 1]


def test_a_state_may_count_its_own_bytes():
    class State:
        def nbytes(self) -> int:
            return 12

    assert cost.tensor_bytes(State()) == 12
    assert cost.tensor_bytes((torch.zeros(3), [torch.zeros(2, dtype=torch.float64)])) == 28
