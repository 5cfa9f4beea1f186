"""Memory of the process: what is allocated is exact, and a slow leak shows among noise in RAM."""

import pytest
import torch

from nexus.training.audit.memory import allocated_megabytes, resident_megabytes
from nexus.training.audit.record import Record
from nexus.training.audit.rules_curve import memory_growth


@pytest.mark.skipif(allocated_megabytes() is None, reason="the C library doesn't say")
def test_what_is_allocated_is_counted_and_given_back():
    before = allocated_megabytes()
    held = [torch.ones(2**15) for _ in range(80)]  # 10 MB in pieces
    assert allocated_megabytes() - before == pytest.approx(10, abs=0.5)
    held.clear()
    assert allocated_megabytes() - before == pytest.approx(0, abs=0.5)


def test_the_process_lies_in_ram():
    assert resident_megabytes() is None or resident_megabytes() > 20  # Python and torch


def found(**series):
    readings = [
        {"step": 8 * (i + 1), **dict(zip(series, values, strict=True))}
        for i, values in enumerate(zip(*series.values(), strict=True))
    ]
    return memory_growth(Record(readings=readings))


def test_a_slow_leak_shows_in_the_heap_though_ram_stays():
    assert "0.05 MB a step" in found(allocated=[100 + 0.4 * i for i in range(9)], rss=[350.0] * 9).evidence


def test_something_large_that_goes_meanwhile_hides_nothing():
    heap = [100 + 0.4 * i - (5 if i > 6 else 0) for i in range(12)]
    assert found(allocated=heap) is not None


@pytest.mark.parametrize(
    "heap",
    [
        [100 + 0.001 * i for i in range(12)],  # the record of the run itself
        [100.0] * 6 + [140.0] * 6,  # a buffer that is made once
        [100.0, 120.0] * 6,  # up and down
    ],
)
def test_a_healthy_heap_is_left_alone(heap):
    assert found(allocated=heap) is None


def test_growth_in_ram_alone_counts_if_it_is_much():
    assert found(rss=[350.0 + 8 * i for i in range(9)]) is not None
    assert found(rss=[350.0 + 0.4 * i for i in range(9)]) is None
