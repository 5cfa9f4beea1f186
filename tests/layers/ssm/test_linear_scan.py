"""The linear scan: three forms, real and complex, from a state, outputs and gradients."""

import pytest
import torch

from nexus.layers.ssm.linear_scan import linear_scan, linear_scan_parallel, linear_scan_recurrent
from tests.numerics import close


def run(form, a, b, state):
    leaves = [t.clone().requires_grad_() for t in (a, b, state)]
    h = form(*leaves)
    weights = torch.randn(h.shape, dtype=h.dtype, generator=torch.Generator().manual_seed(1))
    loss = (h * weights).sum()
    return [h.detach(), *torch.autograd.grad(loss.real if loss.is_complex() else loss, leaves)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("length", [1, 2, 7, 64, 65])
@pytest.mark.parametrize("form", [linear_scan, linear_scan_parallel])
def test_fast_forms_equal_the_recurrence(form, length, dtype):
    a = 0.9 * torch.randn(2, length, 3, dtype=dtype)
    a = a / a.abs().clamp(min=1)
    b, state = torch.randn(2, length, 3, dtype=dtype), torch.randn(2, 3, dtype=dtype)
    for ours, truth in zip(run(form, a, b, state), run(linear_scan_recurrent, a, b, state), strict=True):
        assert (ours - truth).abs().max() <= 1e-10 * max(1.0, float(truth.abs().max()))


def test_no_state_is_zero():
    a, b = torch.rand(1, 5, 2), torch.randn(1, 5, 2)
    close(linear_scan(a, b), linear_scan(a, b, torch.zeros(1, 2)))
