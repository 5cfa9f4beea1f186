"""Free pages of the heap go back to the system."""

import pytest
import torch

from nexus.inference import heap
from nexus.inference.heap import trim_heap
from nexus.training.audit.memory import heap_bytes, resident_megabytes


@pytest.mark.skipif(heap_bytes() is None, reason="not glibc")
def test_what_was_freed_below_something_that_is_held_goes_back():
    held = [torch.ones(2**13) for _ in range(2_000)]  # 64 MB in pieces that are too small for mappings of their own
    last = held[-1]
    full = resident_megabytes()
    held.clear()
    trim_heap()
    assert full - resident_megabytes() > 40
    assert float(last.sum()) == 2**13


def test_other_c_libraries_have_no_such_call(monkeypatch):
    monkeypatch.setattr(heap, "_malloc_trim", lambda: None)
    assert trim_heap() is False
