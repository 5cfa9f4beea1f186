"""RWKV-4: its proof, its forms, large keys."""

import pytest
import torch

from nexus.layers.ssm.rwkv import RWKV, wkv_chunked, wkv_recurrent
from tests.numerics import close, randomise
from tests.state_space import forms_agree, is_causal, proof_holds


@pytest.mark.parametrize("seed", range(3))
def test_proof(seed):
    proof_holds("rwkv", seed)


@pytest.mark.parametrize("length", [1, 2, 4, 13])
def test_whole_chunked_and_token_by_token_are_one(length):
    block = RWKV(8, 12, chunk_size=4).double()
    randomise(block)
    forms_agree(block, torch.randn(2, length, 8, dtype=torch.float64))


def test_it_is_causal():
    is_causal(RWKV(8).double(), torch.randn(1, 9, 8, dtype=torch.float64))


@pytest.mark.parametrize("chunk", [1, 5, 13])
def test_keys_of_any_size_overflow_nothing(chunk):
    k, v = torch.randn(2, 13, 3) * 300, torch.randn(2, 13, 3)
    decay, bonus = torch.rand(3), torch.randn(3)
    fast = wkv_chunked(k, v, decay, bonus, chunk=chunk)[0]
    close(fast, wkv_recurrent(k, v, decay, bonus)[0], 1e-5)
    assert (fast.abs() <= v.abs().max() + 1e-5).all()  # a mean


def test_the_first_token_is_its_own_mean():
    k, v = torch.randn(2, 1, 3), torch.randn(2, 1, 3)
    close(wkv_chunked(k, v, torch.rand(3), torch.randn(3))[0], v, 1e-6)
