"""xLSTM: its proof, the forms of both cells, parity."""

import pytest
import torch

from nexus.layers.ssm.xlstm import MLSTM, SLSTM, XLSTM
from tests.numerics import randomise
from tests.state_space import forms_agree, is_causal, proof_holds


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("xlstm", seed)


@pytest.mark.parametrize("length", [1, 2, 4, 13])
@pytest.mark.parametrize(
    "make", [lambda: MLSTM(8, 2, chunk_size=4), lambda: SLSTM(8, 2), lambda: XLSTM(8, 2, "msm", 16, 4)]
)
def test_whole_chunked_and_token_by_token_are_one(make, length):
    layer = make().double()
    randomise(layer, 0.3)
    forms_agree(layer, torch.randn(2, length, 8, dtype=torch.float64))


def test_it_is_causal():
    is_causal(XLSTM(8, 2).double(), torch.randn(1, 9, 8, dtype=torch.float64))


def test_wide_gates_overflow_nothing():
    layer = MLSTM(8, 2, soft_cap=500.0)
    with torch.no_grad():
        layer.i_gate.bias.fill_(400.0)
    y = layer(torch.randn(1, 9, 8))[0]
    y.sum().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_an_unknown_plan_is_refused():
    with pytest.raises(ValueError, match="plan='mx': has letters that are no layer"):
        XLSTM(8, 2, "mx")
