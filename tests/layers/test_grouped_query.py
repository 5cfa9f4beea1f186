"""Grouped-query attention against loops, against transformers' Llama, and with its cache against the whole."""

import pytest
import torch
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRotaryEmbedding

from nexus.layers.attention import GroupedQueryAttention
from nexus.layers.attention.visibility import empty_positions, look, look_once
from nexus.layers.positional import RotaryEmbedding, apply_rotary
from tests.numerics import (  # noqa: F401 - fixture
    ODD_LENGTHS,
    close,
    poisoned_memory,
    randomise,
    same_gradients,
)

D_MODEL, HEADS, HEAD_DIM = 16, 4, 4
BOTH = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
ROPE = RotaryEmbedding(HEAD_DIM)


def attention(kv_heads=2, dtype=torch.float64, bias=True):
    layer = GroupedQueryAttention(D_MODEL, HEADS, kv_heads, qkv_bias=bias).to(dtype)
    randomise(layer, 0.1)
    return layer


def run(layer, x, cuts, window=None, sinks=0):
    """Outputs of a text fed in pieces, with a cache."""
    state = layer.init_state(len(x), 0 if window is None else window + sinks)
    seen, start, outputs = empty_positions(window, sinks, x.device), 0, []
    for part in x.split(cuts, dim=1):
        positions = torch.arange(start, start + part.shape[1])[None]
        sight = look(positions, seen, window, sinks)
        y, state = layer(part, ROPE(positions, x.dtype), sight, state)
        seen, start = sight.positions, start + part.shape[1]
        outputs.append(y)
    return torch.cat(outputs, dim=1)


def whole(layer, x, window=None, sinks=0):
    positions = torch.arange(x.shape[1])[None]
    return layer(x, ROPE(positions, x.dtype), look(positions, None, window, sinks))[0]


def brute_force(layer, x, window, sinks):
    """Softmax attention query by query, over a list of the keys that the rule allows."""
    length, kv_heads = x.shape[1], layer.n_kv_heads
    q, k, v = layer.qkv_proj(x).split([HEADS * HEAD_DIM, kv_heads * HEAD_DIM, kv_heads * HEAD_DIM], dim=-1)
    rotary = ROPE(torch.arange(length)[None], x.dtype)
    q, k = (apply_rotary(t.unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2), *rotary) for t in (q, k))
    v = v.unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2)
    rows = []
    for t in range(length):
        keys = [s for s in range(t + 1) if window is None or t - s < window or s < sinks]
        heads = []
        for head in range(HEADS):
            shared = head * kv_heads // HEADS
            scores = torch.einsum("bd,bkd->bk", q[:, head, t], k[:, shared, keys]) / HEAD_DIM**0.5
            heads.append(torch.einsum("bk,bkd->bd", scores.softmax(-1), v[:, shared, keys]))
        rows.append(torch.cat(heads, dim=-1))
    return layer.o_proj(torch.stack(rows, dim=1))


@BOTH
@pytest.mark.parametrize("length", [1, 2, 9, 65])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize(("window", "sinks"), [(None, 0), (1, 0), (5, 0), (5, 4), (1, 1)])
def test_it_is_softmax_attention_over_the_allowed_keys(length, kv_heads, window, sinks, dtype):
    layer, x = attention(kv_heads, dtype), torch.randn(2, length, D_MODEL, dtype=dtype)
    with torch.no_grad():
        close(whole(layer, x, window, sinks), brute_force(layer, x, window, sinks))


@BOTH
@pytest.mark.parametrize(("window", "sinks"), [(None, 0), (5, 2)])
def test_gradients_are_those_of_the_loop(window, sinks, dtype):
    layer, x = attention(2, dtype), torch.randn(2, 13, D_MODEL, dtype=dtype, requires_grad=True)
    ours, theirs = whole(layer, x, window, sinks), brute_force(layer, x, window, sinks)
    close(ours, theirs)
    same_gradients(ours, theirs, [x, *layer.parameters()])


@pytest.mark.parametrize(
    ("length", "dtype"), [*((length, torch.float64) for length in ODD_LENGTHS), (65, torch.float32)]
)
@pytest.mark.parametrize(("window", "sinks"), [(None, 0), (1, 0), (5, 4), (64, 4)])
@pytest.mark.parametrize("grad", [False, True], ids=["in place", "with gradients"])
def test_with_a_cache_it_equals_the_whole(length, window, sinks, dtype, grad):
    layer, x = attention(2, dtype), torch.randn(2, length, D_MODEL, dtype=dtype)
    with torch.set_grad_enabled(grad):
        expected = whole(layer, x, window, sinks)
        for cuts in ([1] * length, [length], [length // 2, length - length // 2]):
            close(run(layer, x, cuts, window, sinks), expected)


@pytest.mark.parametrize(("window", "sinks"), [(None, 0), (3, 2)])
def test_gradients_through_the_cache(window, sinks):
    layer, x = attention(), torch.randn(2, 11, D_MODEL, dtype=torch.float64, requires_grad=True)
    for cuts in ([1] * 11, [4, 7]):
        same_gradients(run(layer, x, cuts, window, sinks), whole(layer, x, window, sinks), [x, *layer.parameters()])


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_it_equals_transformers_llama(kv_heads, bias):
    config = LlamaConfig(
        hidden_size=D_MODEL, num_attention_heads=HEADS, num_key_value_heads=kv_heads, attention_bias=bias,
        attn_implementation="eager",
    )  # fmt: skip
    theirs, ours = LlamaAttention(config, 0), attention(kv_heads, torch.float32, bias)
    with torch.no_grad():
        for part in ("weight", "bias") if bias else ("weight",):
            stack = getattr(ours.qkv_proj, part).split([16, 4 * kv_heads, 4 * kv_heads])
            for name, value in zip("qkv", stack, strict=True):
                getattr(getattr(theirs, f"{name}_proj"), part).copy_(value)
        theirs.o_proj.weight.copy_(ours.o_proj.weight)
        if bias:
            theirs.o_proj.bias.zero_()
    x, positions = torch.randn(2, 17, D_MODEL, requires_grad=True), torch.arange(17)[None]
    blocked = torch.full((17, 17), float("-inf")).triu(1)[None, None]
    expected = theirs(x, LlamaRotaryEmbedding(config)(x, positions), blocked)[0]
    actual = whole(ours, x)
    close(actual, expected, 1e-5)
    same_gradients(actual, expected, [x])


def test_a_growing_cache_is_written_in_place_without_copying_each_step():
    layer = attention()
    with torch.no_grad():
        state, seen, memory = layer.init_state(1), empty_positions(None, 0, torch.device("cpu")), set()
        for t in range(40):
            positions = torch.tensor([[t]])
            sight = look(positions, seen, None, 0)
            x = torch.randn(1, 1, D_MODEL, dtype=torch.float64)
            _, state = layer(x, ROPE(positions, torch.float64), sight, state)
            seen = sight.positions
            memory.add(state.key.data_ptr())
    assert state.length == 40
    assert len(memory) == 1


@torch.no_grad()
def test_a_windowed_cache_is_written_in_place_and_equals_the_whole():
    layer, window, sinks = attention(), 5, 2
    x = torch.randn(2, 20, D_MODEL, dtype=torch.float64)
    with torch.inference_mode():  # a state from inference mode is copied once outside of it
        state = layer.init_state(2, window + sinks)
    seen, outputs, memory = empty_positions(window, sinks, x.device), [], set()
    for t in range(20):
        positions = torch.tensor([[t]])
        sight = look_once(positions, seen, sinks, x.dtype)
        y, state = layer(x[:, t : t + 1], ROPE(positions, x.dtype), sight, state)
        seen = sight.positions
        outputs.append(y)
        memory.add(state.key.data_ptr())
    assert len(memory) == 1
    close(torch.cat(outputs, dim=1), whole(layer, x, window, sinks))


def test_heads_must_be_shared_evenly():
    with pytest.raises(ValueError, match=r"n_kv_heads=3: must divide n_heads=4"):
        GroupedQueryAttention(D_MODEL, 4, 3)
