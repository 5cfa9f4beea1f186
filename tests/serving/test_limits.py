"""Limits a minute: a key that has used up its share waits, others do not."""

import pytest

from nexus.serving.errors import ApiError
from nexus.serving.limits import Limits, Spent
from tests.serving.small import served

KEY, OTHER = "k" * 32, "o" * 32
TEXT = {"model": "nexus", "prompt": "Hello", "max_tokens": 10}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def refusal(limits, owner="a"):
    with pytest.raises(ApiError) as caught:
        limits.admit(owner)
    assert caught.value.status == 429
    return caught.value


def test_requests_come_back_evenly():
    clock = Clock()
    limits = Limits(requests=6, clock=clock)
    for _ in range(6):
        limits.admit("a")
    error = refusal(limits)
    assert (error.code, int(error.headers["Retry-After"])) == ("requests_per_minute", 10)
    limits.admit("b")
    clock.now += int(error.headers["Retry-After"])
    limits.admit("a")
    refusal(limits)
    clock.now += 1e6
    for _ in range(6):
        limits.admit("a")
    refusal(limits)


def test_tokens_leave_a_debt_that_has_to_be_paid():
    clock = Clock()
    limits = Limits(tokens=60, clock=clock)
    limits.admit("a")
    limits.charge("a", Spent(prompt=100, answer=20))
    error = refusal(limits)
    assert error.code == "tokens_per_minute"
    clock.now += int(error.headers["Retry-After"])
    limits.admit("a")


def test_no_limit_is_no_limit():
    limits = Limits()
    for _ in range(1_000):
        limits.admit("a")
        limits.charge("a", Spent(10**9, 10**9))


def test_limits_below_zero_are_refused():
    with pytest.raises(ValueError, match="--tokens-per-minute: -1"):
        Limits(tokens=-1)


def test_each_key_has_its_own_share():
    with served(keys=[KEY, OTHER], limits=Limits(tokens=5)) as client:

        def ask(key):
            return client.post("/v1/completions", json=TEXT, headers={"Authorization": f"Bearer {key}"})

        assert ask(KEY).status_code == 200
        refused = ask(KEY)
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 60
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert ask(OTHER).status_code == 200
        assert client.get("/livez").status_code == 200
