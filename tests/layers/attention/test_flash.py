"""Flash Attention: the proof, lengths from 1 to 4096, and no tensor that grows with the square of the length."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nexus.layers.attention import FlashAttention, MultiHeadAttention
from nexus.layers.attention.flash import flash_attention
from tests.numerics import close, same_gradients
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("flash")


@pytest.mark.parametrize("length", [1, 2, 255, 256, 257, 1000, 4096])
@pytest.mark.parametrize("causal", [False, True])
def test_single_precision_at_all_lengths(length, causal):
    q, k, v = (torch.randn(1, 2, length, 16, requires_grad=True) for _ in range(3))
    ours, theirs = flash_attention(q, k, v, causal=causal), F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    close(ours, theirs, 2e-6)
    weighting = torch.randn_like(ours)
    pairs = zip(*(torch.autograd.grad((y * weighting).sum(), (q, k, v)) for y in (ours, theirs)), strict=True)
    for one, other in pairs:
        close(one, other, 1e-5)


class Largest(TorchDispatchMode):
    """Remembers the most elements of any tensor that was made."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return out


def test_memory_is_linear_in_the_length_forward_and_backward():
    def largest(length):
        q, k, v = (torch.randn(1, 1, length, 16, requires_grad=True) for _ in range(3))
        with Largest() as seen:
            flash_attention(q, k, v, causal=True, block=64).sum().backward()
        return seen.elements

    assert largest(2048) == 2048 * 16  # an output or a gradient, nothing larger
    assert largest(512) == 512 * 16


def test_rows_that_see_nothing_and_padding():
    layer, plain = FlashAttention(16, 4).double(), MultiHeadAttention(16, 4).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(3, 13, 16, dtype=torch.float64, requires_grad=True)
    real = (torch.arange(13) < torch.tensor([[13], [5], [0]]))[:, None, None]
    for causal in (False, True):
        ours, theirs = layer(x, mask=real, causal=causal), plain(x, mask=real, causal=causal)
        close(ours, theirs)
        same_gradients(ours, theirs, [x])


def test_gradcheck():
    q, k, v = (torch.randn(1, 1, n, 3, dtype=torch.float64, requires_grad=True) for n in (5, 7, 7))
    assert torch.autograd.gradcheck(lambda q, k, v: flash_attention(q, k, v, causal=True, block=2), (q, k, v))


def test_what_it_cannot_do_is_refused():
    layer, x = FlashAttention(16, 4), torch.randn(1, 3, 16)
    with pytest.raises(ValueError, match="bias"):
        layer(x, bias=torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"only keys can be masked"):
        layer(x, mask=torch.ones(3, 3, dtype=torch.bool))
