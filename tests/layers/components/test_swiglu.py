"""SwiGLU and its family: the proof, finite differences, and widths."""

import pytest
import torch

from nexus.layers.components import GatedFeedForward, SwiGLU
from nexus.layers.components.swiglu import GATES, matched_width
from tests.numerics import close
from tests.proofs import proof_holds


def test_the_proof_holds():
    proof_holds("swiglu")


def test_the_fast_one_is_the_familys_silu():
    fast, plain = SwiGLU(8, 12).double(), GatedFeedForward(8, 12, "silu").double()
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(3, 8, dtype=torch.float64)
    close(fast(x), plain(x))
    with torch.no_grad():
        close(fast(x), plain(x))


@pytest.mark.parametrize("gate", sorted(GATES))
def test_gradcheck(gate):
    layer, x = GatedFeedForward(3, 4, gate).double(), torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


def test_two_thirds_keep_the_parameters():
    plain = 2 * 96 * 384
    gated = sum(p.numel() for p in SwiGLU(96, matched_width(384)).parameters())
    assert gated == plain
    assert matched_width(4 * 4096, 256) == 11008  # Llama


def test_unknown_gates_are_refused():
    with pytest.raises(ValueError, match="gate='tanh'"):
        GatedFeedForward(8, 12, "tanh")
