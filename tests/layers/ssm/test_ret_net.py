"""RetNet: its proof and its three forms."""

import pytest
import torch

from nexus.layers.ssm.ret_net import RetNet, retention
from nexus.layers.ssm.ssd import ssd_chunked
from tests.numerics import close, randomise, with_gradients
from tests.state_space import forms_agree, is_causal, proof_holds


@pytest.mark.parametrize("seed", range(3))
def test_proof(seed):
    proof_holds("ret_net", seed)


@pytest.mark.parametrize("length", [1, 2, 4, 13])
def test_whole_chunked_and_token_by_token_are_one(length):
    layer = RetNet(8, 2, chunk_size=4).double()
    randomise(layer)
    forms_agree(layer, torch.randn(2, length, 8, dtype=torch.float64))


@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_chunked_equals_parallel_outputs_and_gradients(chunk):
    q, k, v = (torch.randn(2, 11, 2, n, dtype=torch.float64) for n in (4, 4, 3))
    log_decay = torch.tensor([-0.1, -0.5], dtype=torch.float64)
    ours = with_gradients(lambda q, k, v: (ssd_chunked(v, log_decay.expand(2, 11, 2), k, q, chunk)[0],), (q, k, v))
    truth = with_gradients(lambda q, k, v: (retention(q, k, v, log_decay),), (q, k, v))
    for one, other in zip([*ours[0], *ours[1]], [*truth[0], *truth[1]], strict=True):
        close(one, other)


def test_it_is_causal():
    is_causal(RetNet(8, 2).double(), torch.randn(1, 9, 8, dtype=torch.float64))


def test_only_distance_counts():
    """Queries and keys are turned by their positions, so that a text moved on by any number of steps looks the same."""
    layer, x = RetNet(8, 2).double(), torch.randn(1, 7, 8, dtype=torch.float64)
    moved = layer.init_state(1)._replace(position=1000)
    close(layer(x, moved)[0], layer(x)[0], 1e-6)


def test_heads_must_fit():
    with pytest.raises(ValueError, match="d_model=6: must be a multiple of 2 n_heads = 4"):
        RetNet(6, 2)
