"""M-RoPE: the proof, text as plain RoPE, 500 layouts, and offsets in a picture."""

import random

import pytest
import torch

from nexus.layers.positional import MRoPE, RotaryEmbedding, apply_rotary
from nexus.layers.positional.mrope import multimodal_positions
from nexus.zoo.proofs.mrope import layout
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("mrope", (0, 1, 2))  # 600 random layouts


def test_text_is_plain_rope():
    at = multimodal_positions([0] * 9, [])
    for ours, theirs in zip(MRoPE(16, (2, 3, 3))(at[:, None]), RotaryEmbedding(16)(torch.arange(9)[None]), strict=True):
        assert torch.equal(ours, theirs)


def test_products_depend_on_the_offset_in_all_three():
    mrope = MRoPE(16, (2, 3, 3))
    q, k = torch.randn(16, dtype=torch.float64), torch.randn(16, dtype=torch.float64)

    def product(a, b):
        tables = (mrope(torch.tensor(p).view(3, 1, 1), torch.float64) for p in (a, b))
        turned = [apply_rotary(t.view(1, 1, 1, 16), *table) for t, table in zip((q, k), tables, strict=True)]
        return (turned[0] * turned[1]).sum()

    close(product([5, 9, 2], [4, 3, 1]), product([15, 19, 12], [14, 13, 11]), 1e-9)
    assert not torch.isclose(product([5, 9, 2], [4, 3, 1]), product([5, 9, 2], [4, 1, 3]))


def test_films_by_the_papers_rule():
    kinds, grids = [0, 0] + [2] * 12 + [0], [(6, 2, 4)]
    assert multimodal_positions(kinds, grids)[0, -1] == 2 + 2
    assert multimodal_positions(kinds, grids, count_time=True)[0, -1] == 2 + 6
    for number in range(50):
        kinds, found = layout(random.Random(number))
        assert multimodal_positions(kinds, [grid for _, grid in found]).shape == (3, len(kinds))


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match=r"head_dim / 2 = 8"):
        MRoPE(16, (2, 2, 2))
    with pytest.raises(ValueError, match=r"makes 6 tokens, its run has 5"):
        multimodal_positions([1] * 5, [(1, 4, 6)])
