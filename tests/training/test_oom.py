"""Running out of memory: the same samples again in halves, the same gradients; left out only when alone too large."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from nexus.training.oom import OomGuard, OutOfMemoryLimit, is_out_of_memory, run_with_oom_retry


class Net:
    """A small network whose step pretends to run out of memory above `fits` samples, at a chosen moment."""

    def __init__(self, fits: int, when: str = "forward", error: Exception | None = None) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).double()
        self.fits, self.when = fits, when
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.sizes: list[int] = []

    def step(self, batch: torch.Tensor, weight: float) -> None:
        self.sizes.append(len(batch))
        if len(batch) > self.fits and self.when == "forward":
            raise self.error
        (self.model(batch).square().mean() * weight).backward()
        if len(batch) > self.fits:
            raise self.error  # the gradients have been added to already

    def gradients(self) -> list[torch.Tensor]:
        return [p.grad for p in self.model.parameters()]


@pytest.fixture
def samples() -> torch.Tensor:
    return torch.randn(11, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def unsplit(samples: torch.Tensor) -> list[torch.Tensor]:
    net = Net(fits=1000)
    net.step(samples, 1.0)
    return net.gradients()


@pytest.mark.parametrize("when", ["forward", "backward"])
@pytest.mark.parametrize("fits", [1, 2, 3, 5, 10])
def test_gradients_equal_the_unsplit_step(samples, fits, when):
    net = Net(fits, when)
    used = run_with_oom_retry(samples, net.step, reset=net.model.zero_grad)
    assert used == 11
    assert max(net.sizes) > fits >= net.sizes[-1]
    for ours, expected in zip(net.gradients(), unsplit(samples), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-14)


def test_without_starting_over_the_gradients_would_be_wrong(samples):
    """The test above can fail: a reset that does nothing leaves the dead piece's share in the sum."""
    net = Net(5, "backward")
    run_with_oom_retry(samples, net.step, reset=lambda: None)
    pairs = zip(net.gradients(), unsplit(samples), strict=True)
    assert not all(torch.allclose(ours, expected, rtol=1e-3) for ours, expected in pairs)


def test_weights_by_tokens_make_a_mean_over_tokens_right():
    """Samples of different length: the mean over tokens needs pieces weighted by tokens, not by samples."""
    texts = [torch.randn(n, 5, dtype=torch.float64) for n in (1, 9, 2, 4, 7)]

    def gradients(fits: int, weigh) -> list[torch.Tensor]:
        net = Net(1000)

        def step(piece: list[torch.Tensor], weight: float) -> None:
            if len(piece) > fits:
                raise MemoryError
            net.step(torch.cat(piece), weight)

        run_with_oom_retry(texts, step, reset=net.model.zero_grad, weigh=weigh)
        return net.gradients()

    def tokens(piece: list[torch.Tensor]) -> float:
        return sum(map(len, piece))

    for ours, expected in zip(gradients(2, tokens), gradients(5, tokens), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(gradients(2, len)[0], gradients(5, len)[0])


def test_what_fits_is_remembered_and_tried_larger_again(samples):
    net = Net(fits=3)
    guard = OomGuard(patience=2)
    guard.run(samples, net.step, reset=net.model.zero_grad)
    assert net.sizes == [11, 6, 3, 3, 3, 2]
    assert (guard.chunk, guard.retries) == (3, 2)
    net.sizes.clear()
    guard.run(samples, net.step, reset=net.model.zero_grad)
    assert net.sizes == [3, 3, 3, 2]
    guard.run(samples, net.step, reset=net.model.zero_grad)
    assert guard.chunk == 6


def test_only_a_sample_that_fails_alone_is_left_out(samples, caplog):
    net = Net(fits=1000)
    giant = samples[4]

    def step(batch: torch.Tensor, weight: float) -> None:
        if (batch == giant).all(dim=1).any():
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")
        net.step(batch, weight)

    guard = OomGuard()
    names = [f"doc{n}" for n in range(11)]
    assert guard.run(samples, step, reset=net.model.zero_grad, names=names) == 10
    assert guard.skipped == ["doc4"]
    assert "doc4 alone: left out" in caplog.text
    rest = torch.cat([samples[:4], samples[5:]])
    for ours, expected in zip(net.gradients(), unsplit(rest), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-14)


def test_too_many_left_out_is_an_error_with_a_cure(samples):
    guard = OomGuard(max_skipped=0.01, grace=200)
    with pytest.raises(OutOfMemoryLimit, match=r"sequence_length: 3 samples.*more than 1%.*cure: a shorter"):
        guard.run(samples, Net(fits=0).step, reset=lambda: None)


def test_other_errors_pass_through(samples):
    net = Net(fits=0, error=RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run_with_oom_retry(samples, net.step, reset=lambda: None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
    ids=str,
)
def test_what_counts_as_out_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_its_state_survives_a_checkpoint(samples):
    one, other = OomGuard(), OomGuard()
    one.run(samples, Net(fits=3).step, reset=lambda: None)
    other.load_state_dict(one.state_dict())
    assert other.state_dict() == one.state_dict()
    assert other.chunk == 3


REAL = """
import resource, torch
from nexus.training.oom import OomGuard
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
sizes = []
def step(batch, weight):
    sizes.append(len(batch))
    torch.zeros(len(batch), 50_000_000)     # 200 MB a sample; the kernel gives about 1 GB
guard = OomGuard()
assert guard.run(list(range(16)), step, reset=lambda: None) == 16
assert 1 <= guard.chunk <= 5 and guard.retries >= 2 and guard.skipped == [], (guard.chunk, sizes)
print("recovered", sizes)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="limits of address space are set as on Linux")
def test_a_real_allocation_failure_is_survived():
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", REAL], env=env, capture_output=True, text=True)
    assert done.stdout.startswith("recovered"), done.stderr


def test_the_failed_frame_has_let_go_of_its_memory_before_the_retry():
    """A tensor made in the failing step must be gone when the step is tried again."""
    import weakref

    made: list[weakref.ref[torch.Tensor]] = []

    def step(batch: list[int], weight: float) -> None:
        assert all(ref() is None for ref in made)
        big = torch.zeros(10)
        made.append(weakref.ref(big))
        if len(batch) > 1:
            raise MemoryError

    run_with_oom_retry([1, 2, 3, 4], step, reset=lambda: None)
    assert len(made) == 2 + 4
