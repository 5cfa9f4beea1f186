"""The Mamba-2 mixer against transformers' layer, against itself in other forms, and under padding."""

import pytest
import torch
from torch.nn import functional as F
from transformers.models.granitemoehybrid.configuration_granitemoehybrid import GraniteMoeHybridConfig
from transformers.models.granitemoehybrid.modeling_granitemoehybrid import GraniteMoeHybridMambaLayer

from nexus.layers.attention import GroupedQueryAttention
from nexus.layers.attention.visibility import empty_positions, look
from nexus.layers.positional import RotaryEmbedding
from nexus.layers.ssm import Mamba2, WindowedMamba2, WindowedMamba2State
from tests.numerics import (  # noqa: F401 - fixture
    ODD_LENGTHS,
    all_close,
    close,
    parameter_gradients,
    poisoned_memory,
    randomise,
    same_gradients,
)

D_MODEL, HEADS, HEAD_DIM, N = 8, 4, 4, 6
BOTH = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])


def mixer(groups=2, dtype=torch.float64, bias=False, d_conv=4):
    layer = Mamba2(D_MODEL, HEADS, HEAD_DIM, N, groups, d_conv, chunk_size=16, proj_bias=bias).to(dtype)
    randomise(layer)
    return layer


def transformers_layer(groups, bias):
    config = GraniteMoeHybridConfig(
        hidden_size=D_MODEL, num_hidden_layers=1, layer_types=["mamba"], mamba_n_heads=HEADS, mamba_d_head=HEAD_DIM,
        mamba_n_groups=groups, mamba_d_state=N, mamba_d_conv=4, mamba_expand=2, mamba_chunk_size=32,
        mamba_proj_bias=bias,
    )  # fmt: skip
    layer = GraniteMoeHybridMambaLayer(config, 0)
    randomise(layer)
    return layer


def our_name(name):
    return {"conv1d.weight": "conv_weight", "conv1d.bias": "conv_bias"}.get(name, name)


@pytest.mark.parametrize("length", [1, 2, 33, 65])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_it_equals_transformers_layer_outputs_and_gradients(length, groups, bias):
    theirs = transformers_layer(groups, bias)
    ours = Mamba2(D_MODEL, HEADS, HEAD_DIM, N, groups, chunk_size=16, proj_bias=bias)
    ours.load_state_dict(
        {our_name(k): t.squeeze(1) if "conv1d.weight" in k else t for k, t in theirs.state_dict().items()}
    )
    u = torch.randn(2, length, D_MODEL)
    y, z = ours(u)[0], theirs(u)
    close(y, z, 1e-5)
    expected = {our_name(k): t for k, t in parameter_gradients(theirs, [z]).items()}
    for name, gradient in parameter_gradients(ours, [y]).items():
        close(gradient, expected[name].view_as(gradient), 1e-4)


@BOTH
@pytest.mark.parametrize(("length", "groups"), [*((n, 2) for n in ODD_LENGTHS), (65, 1), (65, 4)])
def test_step_by_step_equals_parallel(length, groups, dtype):
    layer, u = mixer(groups, dtype), torch.randn(2, length, D_MODEL, dtype=dtype, requires_grad=True)
    whole, nothing = layer(u)
    assert nothing is None
    state, steps = layer.init_state(2), []
    for t in range(length):
        y, state = layer(u[:, t : t + 1], state)
        steps.append(y)
    stepped = torch.cat(steps, dim=1)
    close(stepped, whole)
    same_gradients(stepped, whole, [u, *layer.parameters()])


@pytest.mark.parametrize("cuts", [[1, 1, 63], [2, 64], [64, 3, 60], [127]])
@pytest.mark.parametrize("d_conv", [1, 2, 4])
def test_chunks_equal_the_whole_from_a_given_state(cuts, d_conv):
    layer, u = mixer(d_conv=d_conv), torch.randn(2, sum(cuts), D_MODEL, dtype=torch.float64)
    start = layer(torch.randn(2, 5, D_MODEL, dtype=torch.float64), layer.init_state(2))[1]
    whole, end = layer(u, start)
    state, parts = start, []
    for part in u.split(cuts, dim=1):
        y, state = layer(part, state)
        parts.append(y)
    close(torch.cat(parts, dim=1), whole)
    all_close(state, end)
    all_close([start.ssm, start.conv], [t.clone() for t in start])  # a state passed in is left as it was


def test_the_convolution_is_the_causal_depthwise_one():
    layer, x = mixer(), torch.randn(2, 9, mixer().conv_dim, dtype=torch.float64)
    fast = layer._convolve(x, None)[0]
    padded = F.pad(x.transpose(1, 2), (3, 0))
    slow = F.conv1d(padded, layer.conv_weight.unsqueeze(1), layer.conv_bias, groups=layer.conv_dim)
    close(fast, F.silu(slow).transpose(1, 2))


@pytest.mark.parametrize("length", [1, 2, 6])
@pytest.mark.parametrize("continued", [False, True], ids=["fresh", "continued"])
def test_left_padding_changes_nothing(length, continued):
    layer, pad = mixer(), 4
    with torch.no_grad():
        u = torch.randn(1, length, D_MODEL, dtype=torch.float64)
        before = layer.init_state(1)
        if continued:
            before = layer(torch.randn(1, 3, D_MODEL, dtype=torch.float64), before)[1]
        junk = torch.full((1, pad, D_MODEL), 1e3, dtype=torch.float64)
        mask = (torch.arange(pad + length) >= pad)[None]
        alone, state = layer(u, before)
        padded, padded_state = layer(torch.cat((junk, u), dim=1), before, mask)
    close(padded[:, pad:], alone)
    all_close(padded_state, state)


def test_padding_only_leaves_the_state():
    layer = mixer()
    with torch.no_grad():
        before = layer(torch.randn(1, 3, D_MODEL, dtype=torch.float64), layer.init_state(1))[1]
        u = torch.randn(1, 2, D_MODEL, dtype=torch.float64)
        after = layer(u, before, torch.zeros(1, 2, dtype=torch.bool))[1]
    all_close(after, before)


def test_the_start_is_the_papers():
    layer = Mamba2(D_MODEL, 64, 2, N)
    dt = F.softplus(layer.dt_bias)
    assert 1e-3 * 0.99 <= dt.min() < 0.01 < dt.max() <= 0.1 * 1.01
    assert 1 <= layer.A_log.exp().min() < 4 < 12 < layer.A_log.exp().max() <= 16


def test_groups_must_divide_heads():
    with pytest.raises(ValueError, match=r"n_groups=3: must divide n_heads=4"):
        Mamba2(D_MODEL, HEADS, HEAD_DIM, N, 3)


def windowed():
    layer = WindowedMamba2(mixer(), GroupedQueryAttention(D_MODEL, 2, 1).double())
    return layer, RotaryEmbedding(D_MODEL // 2)


def test_both_paths_add_up_and_carry_their_states():
    layer, rope = windowed()
    u, positions = torch.randn(2, 9, D_MODEL, dtype=torch.float64), torch.arange(9)[None]
    rotary = rope(positions, torch.float64)
    sight = look(positions, empty_positions(3, 1, u.device), 3, 1)
    state = WindowedMamba2State(layer.mamba.init_state(2), layer.attention.init_state(2, slots=4))
    y, after = layer(u, rotary, sight, state)
    mamba, mamba_state = layer.mamba(u, state.mamba)
    window, window_state = layer.attention(u, rotary, sight, state.window)
    close(y, mamba + window)
    all_close(after.mamba, mamba_state)
    all_close(after.window[:2], window_state[:2])


def test_without_a_visibility_it_is_its_state_space_path():
    layer, rope = windowed()
    u = torch.randn(2, 5, D_MODEL, dtype=torch.float64)
    y, state = layer(u, rope(torch.arange(5)[None]), None, WindowedMamba2State(layer.mamba.init_state(2), None))
    assert torch.equal(y, layer.mamba(u, layer.mamba.init_state(2))[0])
    assert state.window is None
