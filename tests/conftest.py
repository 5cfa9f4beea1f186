"""What every test shares: fixed seeds, one thread, no look into the user's own folders."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; tests run side by side
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch
from hypothesis import settings

_CACHE = tempfile.mkdtemp(prefix="nexus-tests-")
os.environ["NEXUS_CACHE"] = _CACHE

# No deadline: how long a test takes says nothing about whether it holds. The same examples on every machine.
settings.register_profile("nexus", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("nexus")


def pytest_configure() -> None:
    torch.set_num_threads(1)
    # A suite started in the background inherits "SIGINT is ignored" and hands it on; tests that press Ctrl+C in a real
    # process would then wait for ever.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    shutil.rmtree(_CACHE, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
