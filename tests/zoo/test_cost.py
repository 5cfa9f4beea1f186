"""Costs: what is counted, and that a formula which differs from the count is refused."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nexus.layers.attention import MultiHeadAttention
from nexus.layers.ssm.ssd import ssd_chunked, ssd_quadratic
from nexus.zoo import cost
from nexus.zoo.formulas._entry import Entry
from nexus.zoo.proof import Example

RIGHT = {"parameters": "D * F + F", "flops": "2 * B * D * F", "activations": "E * B * D", "cache": "E * B"}
LINEAR = Entry(
    lambda B, D, F: Example(nn.Linear(D, F), (torch.randn(B, D),)),
    ({"B": 2, "D": 4, "F": 3}, {"B": 5, "D": 6, "F": 7}),
    **RIGHT,
    state=lambda example: [example.inputs[0][:, 0]],
)


def test_right_formulas_are_taken():
    cost.check(LINEAR)


@pytest.mark.parametrize("name", RIGHT)
def test_a_wrong_formula_is_refused_with_both_numbers(name):
    wrong = replace(LINEAR, **{name: f"2 * ({RIGHT[name]})"})
    with pytest.raises(ValueError, match=rf"^at B=2,D=4,F=3: {name}: the formula gives \d+, counted are \d+$"):
        cost.check(wrong)


def test_a_formula_that_is_right_at_one_size_only_is_refused():
    with pytest.raises(ValueError, match=r"^at B=5,D=6,F=7: parameters: the formula gives 15, counted are 49$"):
        cost.check(replace(LINEAR, parameters="15"))


def test_attention_is_counted_whatever_kernel_it_takes():
    """Torch's counter passes over its own attention for CPUs; scores and means are 4 B H T T D."""
    q, k, v = (torch.randn(2, 3, 7, 8) for _ in range(3))
    plain = cost.flops_of(lambda: (q @ k.mT).softmax(-1) @ v)
    assert cost.flops_of(lambda: F.scaled_dot_product_attention(q, k, v)) == plain == 4 * 2 * 3 * 7 * 7 * 8
    layer, x = MultiHeadAttention(16, 4), torch.randn(2, 7, 16)
    assert cost.flops_of(lambda: layer(x, causal=True)) == cost.flops_of(lambda: layer(x))


def test_what_an_operator_of_ours_does_inside_is_counted():
    x, decay, b, c = torch.randn(2, 8, 4, 3), -torch.rand(2, 8, 4), torch.randn(2, 8, 2, 5), torch.randn(2, 8, 2, 5)
    inside = 2 * 2 * 8 * 8 * (2 * 5 + 4 * 3)  # one chunk of 8: scores for 2 groups, means for 4 heads
    by_state = 2 * 2 * 2 * 8 * 4 * 3 * 5
    assert cost.flops_of(lambda: ssd_chunked(x, decay, b, c, 8)) == inside + by_state
    assert cost.flops_of(lambda: ssd_quadratic(x, decay, b, c)) == inside


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
