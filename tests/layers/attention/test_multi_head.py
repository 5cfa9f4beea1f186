"""Multi-head attention: the proof, rows that see nothing, and gradients by finite differences."""

import pytest
import torch

from nexus.layers.attention import MultiHeadAttention
from nexus.layers.attention.multi_head import attention_weights, softmax_attention
from tests.numerics import close, with_gradients
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("multi_head")


def test_a_row_that_sees_nothing_is_zeros_with_zero_gradients():
    q, k, v = (torch.randn(1, 2, 5, 4, dtype=torch.float64) for _ in range(3))
    mask = torch.ones(5, 5, dtype=torch.bool)
    mask[2] = False
    bias = torch.randn(5, 5, dtype=torch.float64)
    for extra in (None, bias):
        (y,), gradients = with_gradients(lambda q, k, v, b=extra: [softmax_attention(q, k, v, mask, b)], [q, k, v])
        assert not y[:, :, 2].any()
        assert not gradients[0][:, :, 2].any()
        assert all(g.isfinite().all() for g in gradients)
    assert not attention_weights(q, k, mask)[:, :, 2].any()


@pytest.mark.parametrize(("length", "keys"), [(1, 1), (1, 7), (3, 7), (7, 7), (7, 3)])
def test_causality_aligns_the_last_query_with_the_last_key(length, keys):
    q, k, v = (torch.randn(1, 2, n, 4, dtype=torch.float64) for n in (length, keys, keys))
    y = softmax_attention(q, k, v, causal=True)
    close(y, attention_weights(q, k, causal=True) @ v)
    for t in range(length):
        seen = keys - length + t + 1
        alone = (
            attention_weights(q[:, :, t : t + 1], k[:, :, :seen]) @ v[:, :, :seen]
            if seen > 0
            else 0 * q[:, :, t : t + 1]
        )
        close(y[:, :, t : t + 1], alone)


def test_the_future_does_not_matter():
    layer, x = MultiHeadAttention(16, 4), torch.randn(2, 9, 16)
    other = torch.cat((x[:, :5], torch.randn(2, 4, 16)), dim=1)
    assert torch.equal(layer(x, causal=True)[:, :5], layer(other, causal=True)[:, :5])


def test_gradcheck():
    layer = MultiHeadAttention(4, 2).double()
    mask = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    x = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x, mask=mask), (x,))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"n_heads=3: must divide d_model=16"):
        MultiHeadAttention(16, 3)
