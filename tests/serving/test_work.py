"""Work beside answers: it takes turns with them, and its failure is told to who waits."""

import pytest

from nexus.serving.engine import Engine
from nexus.serving.errors import ApiError
from tests.serving.small import release_of


def steps(seen, number, result):
    for i in range(number):
        seen.append(i)
        yield
    return result


@pytest.fixture
def engine():
    made = Engine(release_of(), rows=1, queue=1)
    made.start()
    yield made
    made.close()


def test_the_result_comes_when_the_steps_are_done(engine):
    seen = []
    assert engine.run(steps(seen, 5, "done")).result.result(30) == "done"
    assert seen == [0, 1, 2, 3, 4]


def test_a_failure_is_told_without_its_details_and_the_next_goes_on(engine):
    def broken():
        yield
        raise ArithmeticError("secret")

    error = engine.run(broken()).result.exception(30)
    assert isinstance(error, ApiError)
    assert (error.status, "secret" in str(error)) == (500, False)
    assert engine.run(steps([], 1, 7)).result.result(30) == 7


def test_work_counts_for_the_queue(engine):
    begun = [engine.run(endless()) for _ in range(2)]
    with pytest.raises(ApiError, match="2 requests") as caught:
        engine.run(endless())
    assert caught.value.status == 429
    for work in begun:
        work.drop()
        assert work.result.exception(30).code == "cancelled"


def endless():
    while True:
        yield
