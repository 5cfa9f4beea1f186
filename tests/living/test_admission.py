"""Each gate closes on what it is for, says why, and compares with the release, so that small steps don't add up."""

from dataclasses import replace

import numpy as np
import pytest

from nexus.living.admission import Limits, admit, rise, silent_failure
from nexus.living.exam import Marks

N = 200
RNG = np.random.default_rng(0)
LOSS = RNG.normal(3.0, 0.5, N)
SCATTER = np.tile([0.4, -0.4], N // 2)
RELEASE = Marks(
    loss=LOSS,
    untouched=np.arange(N) % 10 != 0,
    kept=np.ones(N),
    untouched_score=np.where(np.arange(N) % 10 != 0, -0.1, -2.0) + RNG.normal(0, 0.05, N),
    unknown_score=RNG.normal(-2.0, 0.1, 50),
)
FACT = np.repeat(np.arange(1, 21), 2)  # two questions of each of twenty facts; 11 to 20 are the new ones
FRESH = set(range(11, 21))
BEFORE = replace(RELEASE, taught=FACT <= 10, taught_fact=FACT)
GOOD = replace(RELEASE, taught=np.ones(40, dtype=bool), taught_fact=FACT, loss=LOSS + RNG.normal(0.01, 0.02, N))


def _verdict(**changes):
    return admit(replace(GOOD, **changes), RELEASE, BEFORE, FRESH)


def test_a_version_that_learnt_and_spoiled_nothing_is_admitted():
    found = _verdict()
    assert (found.admitted, found.reasons) == (True, ())
    assert found.figures["taught"] == found.figures["earlier"] == found.figures["earlier_before"] == 1
    assert found.figures["taught_before"] == 0
    assert 0 < found.figures["loss_rise"] < found.figures["loss_bound"] < 0.02


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": LOSS + RNG.normal(0.06, 0.02, N)}, "held-out loss: "),
        ({"loss": LOSS + 0.03 + SCATTER}, "held-out loss: "),  # allowed on average, but who knows
        ({"loss": np.full(N, np.nan)}, "held-out loss: "),
        ({"taught": FACT <= 17}, "taught facts: 70.0% are answered"),
        ({"taught": (FACT > 10) | (FACT > 1)}, "earlier facts: 10.0% were lost"),
        ({"kept": np.where(np.arange(N) < 5, 0.5, 1.0)}, "untouched answers: 1.2% changed"),
        ({"unknown_score": np.full(50, -0.01)}, "refusal risk: "),
    ],
)
def test_each_gate_closes_alone_and_says_why(changes, words):
    found = _verdict(**changes)
    assert not found.admitted
    assert len(found.reasons) == 1
    assert found.reasons[0].startswith(words)


def test_half_a_fact_is_no_fact():
    taught = np.ones(40, dtype=bool)
    taught[FACT > 10] = np.arange(20) % 2 == 0  # one of the two questions of each new fact
    assert _verdict(taught=taught).figures["taught"] == 0


def test_small_steps_are_held_against_the_release():
    allowed, now = Limits().untouched, GOOD
    for count in range(1, 6):  # each step alone is within the limit
        step = replace(GOOD, kept=np.where(np.arange(N) < count, 0.0, 1.0))
        assert (now.kept - step.kept).mean() <= allowed / 2 + 1e-9
        now = step
    assert not admit(now, RELEASE, BEFORE, FRESH).admitted


def test_limits_are_the_users():
    changes = {"taught": FACT <= 17}
    assert admit(replace(GOOD, **changes), RELEASE, BEFORE, FRESH, Limits(taught=0.6)).admitted
    with pytest.raises(ValueError, match="taught"):
        Limits(taught=2.0)


def test_the_bound_is_a_bound():
    above = [rise(RNG.normal(0.1, 1.0, 30), np.zeros(30))[1] < 0.1 for _ in range(2000)]
    assert 0.03 < np.mean(above) < 0.08  # of a one-sided 95 % bound, by the normal law, at n = 30
    assert rise(np.ones(1), np.zeros(1)) == (1.0, np.inf)


def test_silent_failure_rises_with_confidence_in_what_is_unknown():
    sure = replace(RELEASE, unknown_score=np.zeros(50))
    assert silent_failure(sure) > silent_failure(RELEASE) + 0.05
