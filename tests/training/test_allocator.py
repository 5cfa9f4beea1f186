"""Freed memory is kept where the C library can; elsewhere nothing happens."""

import ctypes
import platform
import subprocess
import sys

import pytest

from nexus.training import allocator

PROBE = """
import resource, sys
from nexus.training.allocator import keep_freed_memory
import torch
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def touch():
    return torch.ones(16 * 2**20).sum()
for _ in range(16):  # until blocks have found their places
    touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_pages_are_not_asked_for_again():
    faults = {}
    for how in ("keep", "leave"):
        done = subprocess.run([sys.executable, "-c", PROBE, how], capture_output=True, text=True, check=True)
        faults[how] = int(done.stdout)
    assert faults["keep"] < faults["leave"] / 10


def test_another_c_library_is_left_alone(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert allocator.keep_freed_memory() is False
