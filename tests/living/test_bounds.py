"""The bounds are Clopper and Pearson's, and the table of forgiven errors says the same as the bound."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nexus.living.bounds import forgiven, level, lower_bound, tail, upper_bound


@pytest.mark.parametrize(
    ("k", "n", "p"), [(0, 1, 0.5), (3, 10, 0.2), (50, 1000, 0.06), (4999, 5000, 0.999), (7, 7, 0.1)]
)
def test_the_tail_is_the_binomial_one(k, n, p):
    assert tail(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-9)


@pytest.mark.parametrize(("k", "n"), [(0, 59), (1, 93), (5, 208), (40, 60), (0, 0), (9, 9)])
def test_the_limits_are_clopper_and_pearsons(k, n):
    above = stats.beta.ppf(0.95, k + 1, n - k) if k < n else 1.0
    below = stats.beta.ppf(0.05, k, n - k + 1) if k else 0.0
    assert upper_bound(k, n, 0.05) == pytest.approx(above, abs=1e-9)
    assert lower_bound(k, n, 0.05) == pytest.approx(below, abs=1e-9)


def test_forgiven_is_where_the_upper_bound_crosses_alpha():
    table = forgiven(200, 0.05, 0.05)
    assert [int(np.argmax(table >= k)) for k in (0, 1)] == [59, 93]  # known exact sizes
    for n in range(1, 201, 13):
        allowed = [k for k in range(n + 1) if upper_bound(k, n, 0.05) <= 0.05]
        assert table[n] == (max(allowed) if allowed else -1)


@pytest.mark.parametrize("value", [0, 1, -0.1, float("nan")])
def test_a_level_outside_0_and_1_is_refused(value):
    with pytest.raises(ValueError, match="alpha"):
        level("alpha", value)
