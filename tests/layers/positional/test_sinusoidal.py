"""Sinusoidal positions: the proof, fractions, and odd widths."""

import pytest
import torch

from nexus.layers.positional import SinusoidalEncoding
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("sinusoidal")


def test_products_depend_on_the_distance_only():
    encode = SinusoidalEncoding(32)
    one = encode(torch.tensor([3, 40]), torch.float64)
    other = encode(torch.tensor([1003, 1040]), torch.float64)
    close(one[0] @ one[1], other[0] @ other[1], 1e-12)


def test_layouts_are_permutations_and_odd_widths_end_in_zero():
    at = torch.tensor([0.0, 0.5, 7.25])
    paper, halves = SinusoidalEncoding(6)(at), SinusoidalEncoding(6, layout="sin_cos")(at)
    close(paper.unflatten(-1, (3, 2)).mT.flatten(-2), halves, 0)
    assert not SinusoidalEncoding(7)(at)[:, -1].any()


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="layout='sine'"):
        SinusoidalEncoding(8, layout="sine")
    with pytest.raises(ValueError, match="d_model=2: too narrow"):
        SinusoidalEncoding(2, shift=1)
