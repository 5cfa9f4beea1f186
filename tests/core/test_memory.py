"""Memory that learns while it reads: the rule, its fast form, the three ways to put it together, and its bounds."""

from __future__ import annotations

import pytest
import torch

from nexus.core import memory_rule
from nexus.core.base import ConfigError
from nexus.core.memory import MemoryConfig, MemoryState, TitansMemory
from nexus.core.memory_rule import Gates, Layout, apply_mlp, bound, token_gradients, update_chunk, update_step
from nexus.layers.ssm import titans
from tests.numerics import all_close, close, parameter_gradients, poisoned_memory, randomise  # noqa: F401 - fixture

MODES = ("context", "gate", "layer")
DEPTHS = (1, 2, 3, 4)


def _rule(depth, length, rows=2, heads=2, dim=4):
    layout = Layout(dim, 6, depth)
    state = [0.3 * torch.randn(rows, heads, layout.size, dtype=torch.float64) for _ in range(3)]
    tokens = tuple(torch.randn(rows, heads, length, dim, dtype=torch.float64) for _ in range(3))
    gates = Gates(*(torch.rand(rows, heads, length, dtype=torch.float64) * 0.9 for _ in range(3)))
    return layout, state, tokens, gates


def _one_by_one(layout, state, tokens, gates, clip):
    anchor, weights, momentum = state
    reads, norms = [], []
    for t in range(tokens[0].shape[2]):
        part = tuple(x[:, :, t : t + 1] for x in tokens)
        step = update_step(layout, anchor, weights, momentum, part, Gates(*(g[..., t : t + 1] for g in gates)), clip)
        weights, momentum = step.weights, step.momentum
        reads.append(step.read)
        norms.append(step.surprise)
    return weights, momentum, torch.cat(reads, 2), torch.cat(norms, 2)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("length", [1, 2, 7, 16])
@pytest.mark.parametrize("clip", [1.0, 1e9])
def test_a_chunk_at_once_equals_token_by_token(depth, length, clip):
    layout, state, tokens, gates = _rule(depth, length)
    all_close(update_chunk(layout, *state, tokens, gates, clip), _one_by_one(layout, state, tokens, gates, clip), 1e-10)


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_surprise_is_the_gradient_that_autograd_finds(depth):
    layout, (anchor, _, _), (key, value, _), _ = _rule(depth, 3)
    left, right = token_gradients(layout, anchor, key, value)
    ours = torch.cat([torch.einsum("bhti,bhtj->bhij", a, b).flatten(-2) for a, b in zip(left, right, strict=True)], -1)
    leaf = anchor.clone().requires_grad_()
    (apply_mlp(layout, leaf, key) - value).square().sum().backward()
    close(ours, leaf.grad, 1e-10)
    single = (apply_mlp(layout, leaf, key[:, :, 1:2]) - value[:, :, 1:2]).square().sum()
    norm = torch.autograd.grad(single, leaf)[0].norm(dim=-1)
    close(memory_rule.gradient_norms(left, right)[..., 1], norm, 1e-10)


def test_one_update_is_one_explicit_gradient_step():
    layout, (anchor, _, _), tokens, _ = _rule(2, 1)
    one = torch.ones(2, 2, 1, dtype=torch.float64)
    gates = Gates(0.0 * one, 1e-9 * one, 0.1 * one)
    leaf = anchor.clone().requires_grad_()
    (apply_mlp(layout, leaf, tokens[0]) - tokens[1]).square().sum().backward()
    done = update_chunk(layout, anchor, anchor, torch.zeros_like(anchor), tokens, gates, 1e9)
    close(done.weights, anchor - 0.1 * leaf.grad, 1e-8)


def test_the_rule_is_that_of_the_layer_which_is_frozen_against_titans_pytorch():
    """tests/golden holds `nexus.layers.ssm.titans` to the oracle; a matrix as memory has no activation to differ in."""
    layout, (anchor, weights, momentum), (key, value, query), gates = _rule(1, 7)
    ours = update_chunk(layout, anchor, weights, momentum, (key, value, query), gates, 1e9)
    flipped = [(layout.cut(flat)[0].mT,) for flat in (weights, momentum, anchor)]
    told = titans.Tokens(query, key, value, gates.learn, gates.keep.log(), torch.log1p(-gates.forget))
    read, state = titans.titans_chunked(told, titans.TitansState(*flipped, offset=0), 100)
    close(ours.read, read, 1e-10)
    close(layout.cut(ours.weights)[0].mT, state.weights[0], 1e-10)
    close(layout.cut(ours.momentum)[0].mT, state.momentum[0], 1e-10)


def test_gradients_through_the_fast_form_equal_those_through_the_slow_one():
    layout, state, tokens, gates = _rule(3, 5)
    leaves = [t.clone().requires_grad_() for t in (*state, *tokens, *gates)]

    def total(form):
        out = form(layout, leaves[:3], tuple(leaves[3:6]), Gates(*leaves[6:]), 2.0)
        return sum((part * torch.linspace(-1, 1, part.numel(), dtype=part.dtype).view_as(part)).sum() for part in out)

    fast = torch.autograd.grad(total(lambda a, s, t, g, c: update_chunk(a, *s, t, g, c)), leaves)
    all_close(fast, torch.autograd.grad(total(_one_by_one), leaves), 1e-8)


def build(mode, dtype=torch.float64, **changes):
    memory = TitansMemory.tiny(mode=mode, **changes).to(dtype)
    randomise(memory, 0.1)
    return memory


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [1, 3, 4, 5, 23])
def test_three_equal_forms(mode, length):
    memory, x = build(mode), torch.randn(2, length, 32, dtype=torch.float64)
    whole, none = memory(x)
    assert none is None
    for cuts in (length, 1, 3, 5):
        state, parts = memory.init_state(2), []
        for part in x.split(cuts, dim=1):
            y, state = memory(part, state)
            parts.append(y)
        close(torch.cat(parts, 1), whole, 1e-9)
        assert state.seen.tolist() == [length, length]


@pytest.mark.parametrize("mode", MODES)
def test_padded_rows_are_as_alone_and_go_on_at_their_own_places(mode):
    memory, x = build(mode), torch.randn(2, 13, 32, dtype=torch.float64)
    mask = torch.ones(2, 13, dtype=torch.bool)
    mask[0, :6] = False
    together, state = memory(x, memory.init_state(2), mask)
    alone, own = memory(x[:1, 6:], memory.init_state(1))
    close(together[:1, 6:], alone)
    more = torch.randn(2, 5, 32, dtype=torch.float64)
    step, _ = memory(more[:, :1], state)
    close(step[:1], memory(more[:1, :1], own)[0])
    close(memory(more, state)[0][:1], memory(more[:1], own)[0])


@pytest.mark.parametrize("mode", MODES)
def test_the_future_changes_nothing_before_it(mode):
    memory, x = build(mode, torch.float32), torch.randn(1, 19, 32)
    for place in (3, 4, 10, 18):
        changed = x.clone()
        changed[:, place:] += torch.randn_like(changed[:, place:])
        one, other = memory(x)[0], memory(changed)[0]
        assert torch.equal(one[:, :place], other[:, :place])
        assert not torch.equal(one[:, place], other[:, place])


@pytest.mark.parametrize("mode", MODES)
def test_every_parameter_gets_a_gradient(mode):
    memory = build(mode)
    gradients = parameter_gradients(memory, [memory(torch.randn(2, 9, 32, dtype=torch.float64))[0]])
    assert [name for name, gradient in gradients.items() if not gradient.any()] == []


def test_gates_can_be_shut_and_then_nothing_is_learnt_or_forgotten():
    memory, x = TitansMemory.tiny(), torch.randn(2, 11, 32)
    gates = memory.long_term.gates
    with torch.no_grad():
        gates.weight.zero_()
        gates.bias.fill_(-5.0)  # a sigmoid would leave 0.7 %
        before = memory.init_state(2)
        _, after = memory(x, before)
        assert torch.equal(after.weights, before.weights)
        gates.bias.fill_(5.0)
        wide = memory.long_term.gating(x)
        assert (wide.forget == 0.99).all()
        assert (wide.learn == memory.config.max_learn).all()


@pytest.mark.parametrize(("half_life", "within"), [(10, 1e-3), (16_384, 1e-3), (1_000_000, 2e-2)])  # of a float32 bias
def test_a_fresh_memory_forgets_half_of_it_in_its_half_life(half_life, within):
    memory = TitansMemory.tiny(half_life=half_life).double()
    with torch.no_grad():
        memory.long_term.gates.weight.zero_()
        forget = memory.long_term.gating(torch.zeros(1, 1, 32, dtype=torch.float64)).forget
    close((1 - forget) ** half_life, torch.full_like(forget, 0.5), within)


def test_persistent_tokens_are_seen_from_everywhere():
    memory, x = build("gate"), torch.randn(1, 9, 32, dtype=torch.float64)
    before = memory(x)[0]
    with torch.no_grad():
        memory.persistent.add_(1.0)
    assert (memory(x)[0] - before).abs().amax(-1).min() > 0


def test_what_repeats_surprises_less_and_what_is_new_surprises():
    memory = TitansMemory.tiny(chunk_size=1)
    with torch.no_grad():
        memory.long_term.gates.bias[2 * 2 :] = 0.0
    torch.manual_seed(2)
    seen, new = torch.randn(1, 1, 32), torch.randn(1, 1, 32)
    with torch.no_grad():
        surprise = memory.surprise(torch.cat([seen.expand(1, 12, 32), new], 1))[0]
    assert surprise[11] < 0.5 * surprise[0]
    assert surprise[12] > 2 * surprise[11]


@pytest.mark.parametrize("depth", DEPTHS)
def test_weights_stay_bounded_whatever_is_read(depth):
    memory = TitansMemory.tiny(depth=depth, max_norm=5.0)
    config, state = memory.config, memory.init_state(1)
    with torch.no_grad():
        for scale in (1.0, 1e3, 1e-3, 1e3):
            y, state = memory(scale * torch.randn(1, 200, 32), state)
            assert y.isfinite().all()
            assert state.weights.norm(dim=-1).max() <= config.max_norm * 1.001
            assert state.momentum.norm(dim=-1).max() <= config.max_learn * config.clip / (1 - 0.99)


@pytest.mark.slow
@pytest.mark.parametrize("depth", DEPTHS)
def test_ten_thousand_updates_leave_no_nan(depth):
    memory = TitansMemory.tiny(depth=depth)
    state = memory.init_state(1)
    with torch.no_grad():
        for _ in range(10):
            y, state = memory(3 * torch.randn(1, 1000, 32), state)
            assert y.isfinite().all()
    assert all(part.isfinite().all() for part in state)


def test_a_state_that_is_forked_goes_two_ways():
    memory, x = build("gate"), torch.randn(1, 6, 32, dtype=torch.float64)
    state = memory(x, memory.init_state(1))[1]
    kept = MemoryState(*(part.clone() for part in state))
    memory(torch.randn(1, 7, 32, dtype=torch.float64), state)
    all_close(state, kept, 0.0)  # reading on leaves the state passed in as it was


def test_what_is_too_long_is_pulled_back_and_what_is_not_stays():
    flat = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    close(bound(flat, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4]]), 1e-6)
    assert torch.equal(bound(flat, 6.0), flat)


def test_wrong_sizes_are_named_with_their_cure():
    with pytest.raises(ConfigError, match="n_heads = 3 does not divide d_model = 32"):
        MemoryConfig.tiny(n_heads=3)
    with pytest.raises(ConfigError, match="even"):
        MemoryConfig.tiny(n_heads=32)
    with pytest.raises(ConfigError, match="'gate'"):
        MemoryConfig.tiny(mode="gates")


@pytest.mark.parametrize(
    "x", [torch.zeros(3, 32), torch.zeros(1, 3, 31), torch.zeros(1, 0, 32), torch.zeros(1, 3, 32, dtype=torch.long)]
)
def test_what_cannot_be_read_is_named(x):
    for read in (TitansMemory.tiny(), TitansMemory.tiny().surprise):
        with pytest.raises(ValueError, match=r"x: Expected floats \(batch, length, 32\)"):
            read(x)
