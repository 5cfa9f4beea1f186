"""Sparse attention: the proof, patterns against their dense masks at odd sizes, and a cost linear in the length."""

import pytest
import torch

from nexus.layers.attention import SparseAttention
from nexus.layers.attention.multi_head import softmax_attention
from nexus.layers.attention.sparse import Fixed, Global, RandomBlocks, Strided, Window, rows_by_width, sparse_attention
from tests.numerics import close, same_gradients
from tests.proofs import proof_holds

PATTERNS = {
    "window": Window(5, 2),
    "strided": Window(4) | Strided(4),
    "wide stride": Strided(9),
    "fixed": Fixed(6, 2),
    "longformer": Window(3, 3) | Global(2),
    "big bird": Window(3, 3) | Global(2) | RandomBlocks(4, 2, 4),
}


def test_the_proof_holds():
    proof_holds("sparse")


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize(("length", "block"), [(1, 4), (7, 8), (16, 4), (33, 5)])
@pytest.mark.parametrize("causal", [False, True])
def test_it_is_dense_attention_with_the_same_mask(name, length, block, causal):
    q, k, v = (torch.randn(2, 2, length, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    real = torch.rand(2, 1, 1, length) < 0.8
    dense = softmax_attention(q, k, v, PATTERNS[name].dense(length, causal) & real)
    ours = sparse_attention(q, k, v, PATTERNS[name], causal, real, block)
    close(ours, dense)
    same_gradients(ours, dense, [q, k, v])


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("block", [2, 4, 5])
def test_every_pair_of_the_pattern_is_in_a_block_that_is_computed(name, block):
    mask = PATTERNS[name].dense(30)
    needed = mask.view(30 // block, block, 30 // block, block).any(3).any(1) if 30 % block == 0 else None
    for row in range(-(-30 // block)):
        columns = PATTERNS[name].columns(row, block, -(-30 // block))
        assert columns == sorted(set(columns))
        if needed is not None:
            assert set(needed[row].nonzero().flatten().tolist()) <= set(columns)


def test_blocks_grow_linearly_with_the_length():
    def blocks(n_blocks):
        groups = rows_by_width(Window(64) | Global(3), 32, n_blocks, causal=True)
        return sum(columns.numel() for _, columns in groups)

    assert blocks(400) - blocks(200) == blocks(600) - blocks(400) == 200 * 4  # three of the window and the global one


def test_a_layer_with_padding():
    layer, x = SparseAttention(16, 4, Window(2, 2), block=4), torch.randn(2, 9, 16)
    real = torch.arange(9) < torch.tensor([[9], [6]])
    short = layer(x[1:, :6])
    close(layer(x, mask=real[:, None, None])[1:, :6], short, 1e-5)
    with pytest.raises(ValueError, match="as many"):
        layer(x, x[:, :4])
