"""Four forms of one linear map: quadratic and chunked are held against the step-by-step recurrence."""

import pytest
import torch
from torch.nn import functional as F

from nexus.layers.ssm import ssd_chunked, ssd_quadratic, ssd_recurrent, ssd_step
from tests.numerics import ODD_LENGTHS, all_close, close, poisoned_memory, with_gradients  # noqa: F401 - fixture

BATCH, HEADS, WIDTH, N = 2, 4, 3, 5
BOTH = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])


def inputs(length, groups, dtype, with_state=False, strength=0.3):
    x = torch.randn(BATCH, length, HEADS, WIDTH, dtype=dtype)
    log_decay = -F.softplus(torch.randn(BATCH, length, HEADS, dtype=dtype)) * strength
    b, c = torch.randn(2, BATCH, length, groups, N, dtype=dtype).unbind(0)
    state = [torch.randn(BATCH, HEADS, N, WIDTH, dtype=dtype)] if with_state else []
    return [x, log_decay, b, c, *state]


def brute_force(x, log_decay, b, c, state=None):
    """The recurrence written out with loops over everything, sharing nothing with the code under test."""
    y = torch.zeros_like(x)
    final = torch.zeros(BATCH, HEADS, N, WIDTH, dtype=x.dtype) if state is None else state.clone()
    for i in range(BATCH):
        for head in range(HEADS):
            group = head * b.shape[2] // HEADS
            for t in range(x.shape[1]):
                decay = log_decay[i, t, head].exp()
                final[i, head] = decay * final[i, head] + torch.outer(b[i, t, group], x[i, t, head])
                y[i, t, head] = c[i, t, group] @ final[i, head]
    return y, final


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("with_state", [False, True])
def test_recurrent_is_the_recurrence(groups, with_state):
    args = inputs(9, groups, torch.float64, with_state)
    all_close(ssd_recurrent(*args), brute_force(*args))


@BOTH
@pytest.mark.parametrize("length", ODD_LENGTHS)
@pytest.mark.parametrize(("groups", "chunk"), [(1, 16), (2, 64), (4, 7)])
@pytest.mark.parametrize("with_state", [False, True])
def test_chunked_equals_recurrent(length, groups, chunk, with_state, dtype):
    args = inputs(length, groups, dtype, with_state)
    fast = with_gradients(lambda *a: ssd_chunked(*a[:4], chunk, *a[4:]), args)
    slow = with_gradients(ssd_recurrent, args)
    all_close(fast[0], slow[0])
    all_close(fast[1], slow[1])


@pytest.mark.parametrize("chunk", [1, 2, 5, 64, 1000])
def test_any_chunk_size_gives_the_same(chunk):
    args = inputs(65, 2, torch.float64, with_state=True)
    all_close(ssd_chunked(*args[:4], chunk, args[4]), ssd_recurrent(*args))


@BOTH
@pytest.mark.parametrize(("length", "groups"), [*((n, 2) for n in ODD_LENGTHS), (65, 1), (65, 4)])
def test_quadratic_equals_recurrent(length, groups, dtype):
    args = inputs(length, groups, dtype)
    fast = with_gradients(lambda *a: [ssd_quadratic(*a)], args)
    slow = with_gradients(lambda *a: [ssd_recurrent(*a)[0]], args)
    all_close(fast[0], slow[0])
    all_close(fast[1], slow[1])


def test_the_state_carries_over():
    args = inputs(127, 2, torch.float64, with_state=True)
    cut = 50
    first, state = ssd_chunked(*(t[:, :cut] for t in args[:4]), 16, args[4])
    second, state = ssd_chunked(*(t[:, cut:] for t in args[:4]), 16, state)
    whole, final = ssd_chunked(*args[:4], 16, args[4])
    close(torch.cat((first, second), dim=1), whole)
    close(state, final)


def test_a_step_leaves_the_passed_state_alone():
    x, log_decay, b, c, state = inputs(1, 2, torch.float64, with_state=True)
    before = state.clone()
    ssd_step(x[:, 0], log_decay[:, 0], b[:, 0], c[:, 0], state)
    assert torch.equal(state, before)


def test_strong_decay_gives_no_nan_in_outputs_or_gradients():
    args = inputs(64, 1, torch.float32, strength=300.0)  # exp of the masked upper half would overflow
    outputs, gradients = with_gradients(lambda *a: ssd_chunked(*a, 64), args)
    assert all(t.isfinite().all() for t in [*outputs, *gradients])
    all_close(outputs, ssd_recurrent(*args))


def test_half_precision_stays_near():
    args = inputs(127, 1, torch.float32)
    exact = ssd_recurrent(*(t.bfloat16().double() for t in args))[0]
    half = ssd_chunked(*(t.bfloat16() for t in args), 64)[0]
    assert half.dtype == torch.bfloat16
    assert (half.double() - exact).norm() / exact.norm() < 0.02  # bfloat16 carries 8 bits


def stepped(length, groups, dtype=torch.float64):
    """Arguments of `ssd_chunked` with step sizes and skip, in the order of `apart`."""
    x, log_decay, b, c, state = inputs(length, groups, dtype, with_state=True)
    step, skip = F.softplus(torch.randn(BATCH, length, HEADS, dtype=dtype)), torch.randn(HEADS, dtype=dtype)
    return [x, log_decay, b, c, state, step, skip]


def together(chunk):
    return lambda x, a, b, c, state, step, skip: ssd_chunked(x, a, b, c, chunk, state, step, skip)


def apart(x, log_decay, b, c, state, step, skip):
    y, final = ssd_recurrent(x * step.unsqueeze(-1), log_decay, b, c, state)
    return y + x * skip.unsqueeze(-1), final


@BOTH
@pytest.mark.parametrize(("length", "groups"), [(1, 1), (33, 1), (64, 2), (65, 4)])
def test_step_sizes_and_skip_inside_equal_those_outside(length, groups, dtype):
    args = stepped(length, groups, dtype)
    fast, slow = with_gradients(together(16), args), with_gradients(apart, args)
    all_close(fast[0] + fast[1], slow[0] + slow[1])


@pytest.mark.parametrize("groups", [1, 2])
def test_every_gradient_is_that_of_finite_differences(groups):
    args = [t.requires_grad_() for t in stepped(7, groups)]
    assert torch.autograd.gradcheck(together(4), args)


def test_steps_of_size_zero_write_nothing_and_have_finite_gradients():
    args = stepped(20, 2)
    args[5][:, 3:9] = 0
    fast, slow = with_gradients(together(8), args), with_gradients(apart, args)
    all_close(fast[0], slow[0])
    assert fast[1][5][:, 3:9].eq(0).all()
    all_close([g for i, g in enumerate(fast[1]) if i != 5], [g for i, g in enumerate(slow[1]) if i != 5])


def test_what_comes_in_is_left_as_it_was():
    args = stepped(33, 2)
    before = [t.clone() for t in args]
    with_gradients(together(16), args)
    with torch.no_grad():
        together(16)(*args)
    assert all(torch.equal(t, b) for t, b in zip(args, before, strict=True))
