"""RoPE: the proof, the relative property of every scaling, and layouts (more in tests/layers/test_rope.py)."""

import pytest
import torch

from nexus.layers.positional import RotaryEmbedding, apply_rotary
from nexus.layers.positional.rope import rows_to_half_split, to_half_split, to_interleaved
from nexus.layers.positional.rope_scaling import LongRoPEScaling, NTKScaling, YaRNScaling
from nexus.zoo.proofs.rope import settings
from tests.numerics import close
from tests.proofs import proof_holds

ALL = {name: scaling for name, scaling, _, _ in settings()}


def test_the_proof_holds():
    proof_holds("rope", (0, 1))


@pytest.mark.parametrize("name", ALL)
def test_products_depend_on_the_distance_only(name):
    rope = RotaryEmbedding(16, scaling=ALL[name])
    q, k = torch.randn(16, dtype=torch.float64), torch.randn(16, dtype=torch.float64)
    turned_q, turned_k = (
        apply_rotary(t.expand(1, 1, 200, 16), *rope(torch.arange(200)[None], torch.float64))[0, 0] for t in (q, k)
    )
    products = turned_q @ turned_k.mT
    close(products[1:, 1:], products[:-1, :-1], 1e-9)


def test_ntk_slows_the_slowest_pair_by_the_factor_and_leaves_the_fastest():
    plain, longer = RotaryEmbedding(16).inv_freq, RotaryEmbedding(16, scaling=NTKScaling(8.0)).inv_freq
    close(longer[-1] * 8, plain[-1], 1e-6)
    assert longer[0] == plain[0]


def test_yarn_stays_between_plain_and_linear():
    plain = RotaryEmbedding(64).inv_freq
    yarn = RotaryEmbedding(64, scaling=YaRNScaling(8.0, 2048)).inv_freq
    assert ((yarn <= plain * (1 + 1e-6)) & (yarn >= plain / 8 * (1 - 1e-6))).all()
    assert yarn[0] == plain[0]


def test_layouts_convert_and_rows_with_them():
    x, weight = torch.randn(2, 3, 8), torch.randn(16, 5)
    assert torch.equal(to_interleaved(to_half_split(x)), x)
    hidden = torch.randn(4, 5)
    by_rows = hidden @ rows_to_half_split(weight, 2).T
    by_channels = to_half_split((hidden @ weight.T).unflatten(-1, (2, 8))).flatten(-2)
    close(by_rows, by_channels, 1e-6)


def test_a_missing_factor_is_named():
    with pytest.raises(ValueError, match="2 factors for 4 pairs"):
        RotaryEmbedding(8, scaling=LongRoPEScaling((1.0, 1.0), (2.0, 2.0), 64, 4.0))
