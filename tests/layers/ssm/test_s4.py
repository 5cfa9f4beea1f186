"""S4 and HiPPO: the proof, the kernel at odd lengths, what HiPPO's state means."""

import pytest
import torch

from nexus.layers.ssm.hippo import dplr_legs, hippo_legs
from nexus.layers.ssm.s4 import S4
from tests.numerics import close, randomise
from tests.state_space import forms_agree, is_causal, proof_holds


def layer(**options):
    made = S4(3, d_state=8, **options).double()
    randomise(made, 0.1)
    return made


@pytest.mark.parametrize("seed", range(3))
def test_proof(seed):
    proof_holds("s4", seed)


@pytest.mark.parametrize("length", [1, 2, 7, 12, 13])
@pytest.mark.parametrize("stored", [0, 12])
def test_convolution_chunks_and_recurrence_are_one(length, stored):
    forms_agree(layer(stored_length=stored), torch.randn(2, length, 3, dtype=torch.float64), 1e-8)


def test_it_is_causal():
    """To rounding: a Fourier transform spreads it over all of its outputs."""
    made, x = layer(), torch.randn(1, 9, 3, dtype=torch.float64)
    other = x.clone()
    other[:, 5:] += 1
    close(made(other)[0][:, :5], made(x)[0][:, :5])


def test_hippo_is_diagonal_plus_low_rank():
    a, b = hippo_legs(8)
    parts = dplr_legs(8)
    v = torch.cat((parts.v, parts.v.conj()), dim=1)
    values, p = (torch.cat((t, t.conj())) for t in (parts.eigenvalues, parts.p))
    close(v @ (torch.diag(values) - p[:, None] * p.conj()) @ v.conj().mT, a.to(v), 1e-9)
    close(v @ torch.cat((parts.b, parts.b.conj())), b.to(v), 1e-9)
    assert (a.real.diagonal() == -torch.arange(1, 9)).all()


def test_odd_states_are_refused():
    with pytest.raises(ValueError, match="d_state=7: is odd"):
        S4(3, d_state=7)


def test_states_of_a_time_invariant_layer_are_left_alone():
    made, x = layer(), torch.randn(1, 4, 3, dtype=torch.float64)
    state = made(x, made.init_state(1))[1]
    kept = state.clone()
    made(x, state)
    assert torch.equal(state, kept)


def test_a_recurrent_layer_sees_the_past_only():
    class Recurrent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.made = layer()

        def forward(self, x):
            return self.made(x, self.made.init_state(len(x)))

    is_causal(Recurrent(), torch.randn(1, 9, 3, dtype=torch.float64))
