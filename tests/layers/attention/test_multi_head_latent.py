"""Multi-head latent attention: the proof, its two forms, its cache and the bytes of it."""

import pytest
import torch

from nexus.layers.attention import MultiHeadLatentAttention
from nexus.layers.positional import RotaryEmbedding
from tests.numerics import close, randomise, same_gradients
from tests.proofs import proof_holds

ROPE = RotaryEmbedding(4)


def test_the_proof_holds():
    proof_holds("multi_head_latent", (0, 1))


@pytest.mark.parametrize("cuts", [[1] * 9, [4, 5], [8, 1], [9]])
@pytest.mark.parametrize("absorb", [None, True, False])
def test_with_a_cache_it_equals_the_whole(cuts, absorb):
    layer = MultiHeadLatentAttention(16, 3, 8, 5, head_dim=6, rope_dim=4).double()
    randomise(layer, 0.1)
    x, at = torch.randn(2, 9, 16, dtype=torch.float64, requires_grad=True), torch.arange(9)[None]
    whole, _ = layer(x, ROPE(at, x.dtype), absorb=False)
    state, outputs = layer.init_state(2), []
    for part, positions in zip(x.split(cuts, 1), at.split(cuts, 1), strict=True):
        y, state = layer(part, ROPE(positions, x.dtype), state, absorb)
        outputs.append(y)
    stepped = torch.cat(outputs, dim=1)
    close(stepped, whole)
    same_gradients(stepped, whole, [x, *layer.parameters()])
    assert state.latent.numel() + state.rope_key.numel() == 2 * 9 * (8 + 4)
