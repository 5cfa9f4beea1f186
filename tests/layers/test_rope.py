"""RoPE against its definition and against transformers' Llama."""

import pytest
import torch
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from nexus.layers.positional import RotaryEmbedding, apply_rotary
from tests.numerics import all_close, close, poisoned_memory, with_gradients  # noqa: F401 - fixture


def by_complex_numbers(x, positions, theta):
    """Eq. 34 as multiplication by a unit complex number, pair by pair."""
    half = x.shape[-1] // 2
    frequency = theta ** -(torch.arange(half, dtype=torch.float64) / half)
    turn = torch.polar(torch.ones(1, dtype=torch.float64), positions[:, None, :, None].double() * frequency)
    turned = torch.complex(x[..., :half], x[..., half:]) * turn
    return torch.cat((turned.real, turned.imag), dim=-1)


@pytest.mark.parametrize("length", [1, 2, 65])
def test_it_multiplies_by_unit_complex_numbers(length):
    x = torch.randn(2, 3, length, 8, dtype=torch.float64)
    positions = torch.randint(0, 500, (2, length))
    angles = RotaryEmbedding(8, theta=100.0)(positions, torch.float64)
    ours = with_gradients(lambda t: [apply_rotary(t, *angles)], [x])
    truth = with_gradients(lambda t: [by_complex_numbers(t, positions, 100.0)], [x])
    all_close(ours[0], truth[0], 1e-4)  # frequencies are kept in float32, as everywhere
    all_close(ours[1], truth[1], 1e-4)


def test_it_equals_transformers():
    x, positions = torch.randn(2, 4, 33, 16), torch.arange(7, 40).expand(2, -1)
    config = LlamaConfig(
        hidden_size=64, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 5000.0}
    )
    theirs = apply_rotary_pos_emb(x, x, *LlamaRotaryEmbedding(config)(x, positions))[0]
    close(apply_rotary(x, *RotaryEmbedding(16, 5000.0)(positions)), theirs, 1e-6)


def test_products_depend_on_the_distance_only():
    rope, q, k = RotaryEmbedding(8), *torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)

    def product(i, j):
        at = [rope(torch.tensor([[p]]), torch.float64) for p in (i, j)]
        return (apply_rotary(q, *at[0]) * apply_rotary(k, *at[1])).sum()

    close(product(3, 1), product(903, 901), 1e-9)
    assert abs(product(3, 1) - product(3, 2)) > 1e-3


def test_a_fraction_leaves_the_other_channels_alone():
    x = torch.randn(1, 2, 5, 8, dtype=torch.float64)
    angles = RotaryEmbedding(8, fraction=0.5)(torch.arange(1, 6)[None], torch.float64)
    turned = apply_rotary(x, *angles)
    still = [2, 3, 6, 7]
    close(turned[..., still], x[..., still])
    assert (turned - x).abs()[..., [0, 1, 4, 5]].min() > 0
    quarter = apply_rotary(x[..., [0, 1, 4, 5]], *RotaryEmbedding(4)(torch.arange(1, 6)[None], torch.float64))
    close(turned[..., [0, 1, 4, 5]], quarter)


@pytest.mark.parametrize(
    "move", [lambda m: m.to(torch.bfloat16), lambda m: m.double(), lambda m: m.to_empty(device="cpu")]
)
def test_moving_the_module_keeps_the_frequencies(move):
    before = RotaryEmbedding(16).inv_freq
    assert torch.equal(move(RotaryEmbedding(16)).inv_freq, before)


@pytest.mark.parametrize(("head_dim", "fraction"), [(7, 1.0), (6, 0.5)])
def test_odd_widths_are_refused(head_dim, fraction):
    with pytest.raises(ValueError, match="pairs of channels"):
        RotaryEmbedding(head_dim, fraction=fraction)
