"""Transformer-XL's positions: the proof, memory, and scores that depend on the distance only."""

import torch

from nexus.layers.positional import TransformerXLEncoding
from tests.numerics import close, randomise
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("transformer_xl")


def test_a_memory_is_like_a_longer_text():
    layer = TransformerXLEncoding(12, 2, 4).double()
    randomise(layer)
    q, k = torch.randn(1, 2, 9, 4, dtype=torch.float64), torch.randn(1, 2, 9, 4, dtype=torch.float64)
    close(layer(q[:, :, 5:], k), layer(q, k)[:, :, 5:])


def test_equal_tokens_have_equal_scores_at_equal_distances():
    layer = TransformerXLEncoding(12, 2, 4).double()
    randomise(layer)
    q, k = (torch.randn(1, 2, 1, 4, dtype=torch.float64).expand(-1, -1, 8, -1) for _ in range(2))
    scores = layer(q, k)
    close(scores[..., 1:, 1:], scores[..., :-1, :-1])
