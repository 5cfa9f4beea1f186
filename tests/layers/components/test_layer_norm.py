"""LayerNorm: what the paper claims. That it equals torch's is proved in nexus/zoo/proofs/layer_norm.py."""

import pytest
import torch

from nexus.layers.components.layer_norm import LayerNorm, layer_norm
from tests.numerics import close, randomise

BOTH = pytest.mark.parametrize("fused", [True, False], ids=["fused", "formula"])


@BOTH
def test_a_case_by_hand(fused):
    norm = LayerNorm(4, eps=0.0, fused=fused)
    x = torch.tensor([1.0, 1.0, 5.0, 5.0])  # mean 3, deviation 2
    close(norm(x), torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        norm.bias.fill_(10.0)
    close(norm(x), torch.tensor([9.0, 8.0, 13.0, 14.0]))


@BOTH
def test_shift_and_scale_of_the_input_do_not_matter(fused):
    norm = LayerNorm(6, eps=0.0, fused=fused).double()  # section 5.1: re-scaling and re-centring
    randomise(norm)
    x = torch.randn(3, 6, dtype=torch.float64)
    close(norm(100 * x - 7), norm(x))


@BOTH
def test_positions_and_examples_are_strangers(fused):
    norm = LayerNorm(6, fused=fused)
    x = torch.randn(4, 5, 6)
    whole = norm(x)
    x[1:, 1:] += 100
    assert torch.equal(norm(x)[0], whole[0])
    assert torch.equal(norm(x)[:, 0], whole[:, 0])
    close(norm(x[:1, :1]), whole[:1, :1])  # one of one is normalised as one of many: nothing is remembered or averaged


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_types_are_normalised_in_float32(fused, dtype):
    norm = LayerNorm(512, fused=fused).to(dtype)
    x = (torch.randn(4, 512) + 300).to(dtype)  # the sum of squares would overflow float16
    truth = LayerNorm(512)(x.float())
    assert norm(x).dtype == dtype
    close(norm(x).float(), truth, 0.02)


@BOTH
def test_a_constant_input_gives_the_bias(fused):
    norm = LayerNorm(6, fused=fused)
    randomise(norm)
    close(norm(torch.full((2, 6), 3.0)), norm.bias.expand(2, 6))


def test_without_a_bias_there_is_none():
    norm = LayerNorm(6, bias=False)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]
    x = torch.randn(3, 6)
    close(norm(x), layer_norm(x, norm.weight, None, norm.eps))
