"""Norms and SwiGLU against their formulas and against transformers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.granitemoehybrid.modeling_granitemoehybrid import GraniteMoeHybridRMSNormGated
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from nexus.layers.components import GatedRMSNorm, RMSNorm, SwiGLU
from tests.numerics import (  # noqa: F401 - fixture
    all_close,
    close,
    parameter_gradients,
    poisoned_memory,
    randomise,
    with_gradients,
)

BOTH = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])


@BOTH
def test_rms_norm_is_its_formula(dtype):
    norm = RMSNorm(6, eps=1e-3).to(dtype)
    randomise(norm)
    x = torch.randn(2, 3, 6, dtype=dtype)
    ours = with_gradients(lambda t: [norm(t)], [x])
    truth = with_gradients(lambda t: [t / (t.pow(2).mean(-1, keepdim=True) + 1e-3).sqrt() * norm.weight], [x])
    all_close(ours[0] + ours[1], truth[0] + truth[1])


def test_rms_norm_equals_transformers():
    ours, theirs = RMSNorm(6, eps=1e-5), LlamaRMSNorm(6, eps=1e-5)
    randomise(ours)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 6)
    close(ours(x), theirs(x), 1e-6)


@BOTH
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_gated_norm_is_its_formula(groups, dtype):
    norm = GatedRMSNorm(8, groups, eps=1e-3).to(dtype)
    randomise(norm)

    def formula(y, z):
        gated = (y * z * torch.sigmoid(z)).split(8 // groups, dim=-1)
        normed = [part / (part.pow(2).mean(-1, keepdim=True) + 1e-3).sqrt() for part in gated]
        return [torch.cat(normed, dim=-1) * norm.weight]

    inputs = [torch.randn(2, 3, 8, dtype=dtype), torch.randn(2, 3, 8, dtype=dtype)]
    ours, truth = with_gradients(lambda y, z: [norm(y, z)], inputs), with_gradients(formula, inputs)
    all_close(ours[0] + ours[1], truth[0] + truth[1])


@pytest.mark.parametrize("groups", [1, 2])
def test_gated_norm_equals_transformers(groups):
    ours, theirs = GatedRMSNorm(8, groups), GraniteMoeHybridRMSNormGated(8, group_size=8 // groups)
    randomise(ours)
    theirs.load_state_dict(ours.state_dict())
    y, z = torch.randn(2, 2, 3, 8).unbind(0)
    close(ours(y, z), theirs(y, z), 1e-6)
    for ours_grad, theirs_grad in zip(
        parameter_gradients(ours, [ours(y, z)]).values(),
        parameter_gradients(theirs, [theirs(y, z)]).values(),
        strict=True,
    ):
        close(ours_grad, theirs_grad, 1e-5)


def test_groups_must_divide_the_width():
    with pytest.raises(ValueError, match=r"groups=3: must divide dim=8"):
        GatedRMSNorm(8, 3)


@BOTH
def test_swiglu_equals_separate_matrices(dtype):
    ours = SwiGLU(4, 6).to(dtype)
    theirs = LlamaMLP(LlamaConfig(hidden_size=4, intermediate_size=6, num_attention_heads=1)).to(dtype)
    gate, up = ours.gate_up_proj.weight.detach().split(6)
    theirs.load_state_dict(
        {"gate_proj.weight": gate, "up_proj.weight": up, "down_proj.weight": ours.down_proj.weight.detach()}
    )
    x = torch.randn(2, 3, 4, dtype=dtype)
    one, other = with_gradients(lambda t: [ours(t)], [x]), with_gradients(lambda t: [theirs(t)], [x])
    all_close(one[0] + one[1], other[0] + other[1])


def test_swiglu_is_not_symmetric_in_gate_and_up():
    layer, x = SwiGLU(4, 6), torch.randn(3, 4)
    swapped = nn.Parameter(torch.cat(layer.gate_up_proj.weight.detach().split(6)[::-1]))
    before, layer.gate_up_proj.weight = layer(x), swapped
    assert not torch.allclose(before, layer(x))
    gate, up = F.linear(x, swapped).split(6, dim=-1)
    close(layer(x), layer.down_proj(F.silu(gate) * up), 1e-6)
