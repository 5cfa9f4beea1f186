"""Every schedule equals its oracle at every step."""

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from nexus.training.schedules import SCHEDULES, Schedules, make_schedule

TOTAL, WARMUP, RATE = 100, 10, 1.0


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)


def rates(make, steps=TOTAL):
    chosen = optimizer()
    schedule = make(chosen)
    found = []
    for _ in range(steps):
        found.append(chosen.param_groups[0]["lr"])
        chosen.step()
        schedule.step()
    return found


ORACLES = {
    "constant": lambda o: transformers.get_constant_schedule_with_warmup(o, WARMUP),
    "linear": lambda o: transformers.get_linear_schedule_with_warmup(o, WARMUP, TOTAL),
    "cosine": lambda o: transformers.get_cosine_schedule_with_warmup(o, WARMUP, TOTAL),
    "restarts": lambda o: transformers.get_cosine_with_hard_restarts_schedule_with_warmup(o, WARMUP, TOTAL, 3),
    "inverse_sqrt": lambda o: transformers.get_inverse_sqrt_schedule(o, WARMUP),
    "wsd": lambda o: transformers.get_wsd_schedule(o, WARMUP, 20, num_stable_steps=TOTAL - WARMUP - 20),
}


@pytest.mark.parametrize("name", ORACLES)
def test_it_equals_transformers(name):
    ours = make_schedule(name, TOTAL, WARMUP)
    assert [RATE * ours(step) for step in range(TOTAL)] == pytest.approx(rates(ORACLES[name]), abs=1e-12)


def test_polynomial_equals_transformers():
    ours = make_schedule("polynomial", TOTAL, WARMUP, low=0.01, power=3.0)
    theirs = rates(lambda o: transformers.get_polynomial_decay_schedule_with_warmup(o, WARMUP, TOTAL, 0.01, 3.0))
    assert [ours(step) for step in range(TOTAL)] == pytest.approx(theirs, abs=1e-12)


def test_one_cycle_equals_torch():
    ours = make_schedule("one_cycle", TOTAL)
    theirs = rates(lambda o: torch.optim.lr_scheduler.OneCycleLR(o, RATE, total_steps=TOTAL), TOTAL - 1)
    assert [ours(step) for step in range(TOTAL - 1)] == pytest.approx(theirs, abs=1e-12)


def test_cosine_with_a_floor_equals_torch():
    ours = make_schedule("cosine", TOTAL, low=0.1)
    theirs = rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, TOTAL, eta_min=0.1))
    assert [ours(step) for step in range(TOTAL)] == pytest.approx(theirs, abs=1e-9)


@given(
    st.sampled_from(sorted(SCHEDULES)),
    st.integers(1, 300),
    st.integers(0, 300),
    st.floats(0, 1, allow_subnormal=False),  # other tests flush denormals
    st.integers(0, 400),
)
def test_a_factor_is_always_a_share(name, total, warmup, low, step):
    assert 0 <= make_schedule(name, total, min(warmup, total), low)(step) <= 1 + 1e-12


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="schedule='cosin': is unknown; use cosine"):
        make_schedule("cosin", 10)
    with pytest.raises(ValueError, match="warmup=20: of total=10 steps"):
        make_schedule("cosine", 10, 20)


def test_a_scheduler_for_torchs_own_loop():
    found = rates(lambda o: Schedules(o, "cosine", TOTAL, WARMUP))
    assert found == pytest.approx(rates(ORACLES["cosine"]), abs=1e-12)
    one, two = Schedules(optimizer(), "wsd", TOTAL, WARMUP), Schedules(optimizer(), "wsd", TOTAL, WARMUP)
    one.optimizer.step()
    one.step()
    two.load_state_dict(one.state_dict())
    assert two.last_epoch == 1
