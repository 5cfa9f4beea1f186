"""Axial RoPE: the proof, offsets in a picture, and what is refused."""

import pytest
import torch

from nexus.layers.positional import AxialRoPE, apply_rotary
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("axial_rope")


def test_products_depend_on_the_offset_only():
    rope = AxialRoPE(8)
    q, k = (torch.randn(8, dtype=torch.float64).expand(1, 1, 20, 8) for _ in range(2))
    tables = rope(4, 5, dtype=torch.float64)
    scores = (apply_rotary(q, *tables) @ apply_rotary(k, *tables).mT).view(4, 5, 4, 5)
    close(scores[1:, 1:, 1:, 1:], scores[:-1, :-1, :-1, :-1], 1e-9)
    assert not torch.isclose(scores[0, 0, 1, 0], scores[0, 0, 0, 1])


def test_normalised_places_span_the_same_angles_at_any_resolution():
    small, large = (AxialRoPE(8, places="normalised")(n, n)[0] for n in (4, 12))
    centre = large.view(12, 12, 8)[1::3, 1::3]  # the middle one of three is where the one was
    close(small.view(4, 4, 8), centre, 1e-6)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="head_dim=6"):
        AxialRoPE(6)
    with pytest.raises(ValueError, match="places='pixels'"):
        AxialRoPE(8, places="pixels")
