"""Mamba: its proof, its forms, its scan, and that it chooses what to remember."""

import pytest
import torch

from nexus.layers.ssm.mamba import Mamba
from nexus.layers.ssm.selective_scan import CHUNK, selective_scan, selective_scan_parallel, selective_scan_recurrent
from tests.numerics import close, poisoned_memory, randomise, with_gradients  # noqa: F401 - fixture
from tests.state_space import forms_agree, is_causal, proof_holds


def mixer(**options):
    layer = Mamba(8, d_state=4, **options).double()
    randomise(layer)
    return layer


@pytest.mark.parametrize("seed", range(2))
def test_proof(seed):
    proof_holds("mamba", seed)


@pytest.mark.parametrize("length", [1, 2, CHUNK, CHUNK + 1, 3 * CHUNK - 1])
@pytest.mark.parametrize("form", [selective_scan, selective_scan_parallel])
def test_scans_equal_the_recurrence_outputs_and_gradients(form, length):
    sizes = ((2, length, 3), (2, length, 3), (3, 4), (2, length, 4), (2, length, 4), (2, 4, 3))
    x, dt, a, b, c, state = (torch.randn(size, dtype=torch.float64) for size in sizes)
    inputs = (x, dt.abs(), -a.abs(), b, c, state)
    ours, gradients = with_gradients(form, inputs)
    truth, expected = with_gradients(selective_scan_recurrent, inputs)
    for one, other in zip([*ours, *gradients], [*truth, *expected], strict=True):
        close(one, other)


@pytest.mark.parametrize("length", [1, 2, 17])
@pytest.mark.parametrize("inner_norms", [False, True])
def test_whole_chunked_and_token_by_token_are_one(length, inner_norms):
    forms_agree(mixer(inner_norms=inner_norms), torch.randn(2, length, 8, dtype=torch.float64))


def test_it_is_causal():
    is_causal(mixer(), torch.randn(1, 9, 8, dtype=torch.float64))


def test_strong_decays_leave_no_nan():
    x, dt = torch.randn(1, 40, 3), torch.full((1, 40, 3), 1e3)
    inputs = (x, dt, torch.full((3, 4), -1e3), torch.randn(1, 40, 4), torch.randn(1, 40, 4), torch.zeros(1, 4, 3))
    outputs, gradients = with_gradients(selective_scan, inputs)
    assert all(t.isfinite().all() for t in [*outputs, *gradients])


def test_the_start_is_the_papers():
    layer = Mamba(64)
    dt = torch.nn.functional.softplus(layer.dt_proj.bias)
    assert 1e-3 * 0.99 <= dt.min() < dt.max() <= 0.1 * 1.01
    close(layer.A_log.exp()[0], torch.arange(1.0, 17))
