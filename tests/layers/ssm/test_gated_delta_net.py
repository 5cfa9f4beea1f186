"""DeltaNet and gated DeltaNet: the proof, the forms, and that keys overwrite."""

import pytest
import torch
from torch.nn import functional as F

from nexus.layers.ssm.gated_delta_net import GatedDeltaNet, delta_chunked, delta_recurrent
from tests.numerics import close, randomise, with_gradients
from tests.state_space import forms_agree, is_causal, proof_holds


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("gated_delta_net", seed)


@pytest.mark.parametrize("length", [1, 2, 4, 13])
@pytest.mark.parametrize("gated", [False, True])
def test_whole_chunked_and_token_by_token_are_one(length, gated):
    layer = GatedDeltaNet(8, 4, 3, 5, 2, gated, chunk_size=4).double()
    randomise(layer)
    forms_agree(layer, torch.randn(2, length, 8, dtype=torch.float64))


@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_chunks_equal_steps_outputs_and_gradients(chunk):
    q, k, v = (torch.randn(2, 11, 2, n, dtype=torch.float64) for n in (4, 4, 3))
    beta, decay = torch.rand(2, 11, 2, dtype=torch.float64), -torch.rand(2, 11, 2, dtype=torch.float64)
    inputs = (q, F.normalize(k, dim=-1), v, decay, beta, torch.randn(2, 2, 4, 3, dtype=torch.float64))
    ours = with_gradients(lambda *args: delta_chunked(*args, chunk=chunk), inputs)
    truth = with_gradients(delta_recurrent, inputs)
    for one, other in zip([*ours[0], *ours[1]], [*truth[0], *truth[1]], strict=True):
        close(one, other)


def test_a_key_written_again_holds_the_last_value_only():
    key = F.normalize(torch.randn(1, 1, 1, 4), dim=-1).expand(1, 2, 1, 4)
    v, ones = torch.randn(1, 2, 1, 3), torch.ones(1, 2, 1)
    memory = delta_chunked(key, key, v, torch.zeros(1, 2, 1), ones, torch.zeros(1, 1, 4, 3))[1]
    close((key[0, 0] @ memory[0, 0])[0], v[0, 1, 0], 1e-6)


def test_it_is_causal():
    is_causal(GatedDeltaNet(8, 2, 4, 4).double(), torch.randn(1, 9, 8, dtype=torch.float64))


def test_key_heads_must_fit():
    with pytest.raises(ValueError, match="n_kv_heads=3: must divide n_heads=4"):
        GatedDeltaNet(8, 4, 3, 5, 3)
