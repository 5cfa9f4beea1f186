"""Grouped-query attention: the proof, and the bytes of its cache (its caches are tested in tests/layers)."""

import torch

from nexus.layers.attention import GroupedQueryAttention
from nexus.layers.attention.visibility import empty_positions, look
from nexus.layers.positional import RotaryEmbedding
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("grouped_query")


@torch.no_grad()
def test_cache_bytes_are_the_formula():
    for shared in (1, 2, 4):
        layer, positions = GroupedQueryAttention(32, 4, shared), torch.arange(11)[None]
        sight = look(positions, empty_positions(None, 0, torch.device("cpu")), None, 0)
        _, state = layer(torch.randn(3, 11, 32), RotaryEmbedding(8)(positions), sight, layer.init_state(3))
        held = sum(t[:, :, : state.length].numel() * t.element_size() for t in (state.key, state.value))
        assert held == 3 * 11 * 2 * shared * 8 * 4  # texts, tokens, keys and values, heads, channels, bytes
