"""Costs of norms, activations, feed-forward blocks and mixtures of experts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from nexus.layers import components
from nexus.layers.components.layer_norm import LayerNorm
from nexus.layers.components.spectral_norm import spectral_norm
from nexus.layers.components.weight_norm import weight_norm
from nexus.zoo.formulas._entry import Entry, Part, over_text
from nexus.zoo.proof import Example

TEXT = ({"B": 2, "T": 7, "d_model": 8}, {"B": 3, "T": 10, "d_model": 12})
WIDTHS = ({"d_ff": 20}, {"d_ff": 30})
PICTURE = ({"B": 2, "channels": 6, "places": 5}, {"B": 3, "channels": 8, "places": 7})
EXPERTS = ({"d_ff": 20, "n_experts": 4}, {"d_ff": 30, "n_experts": 5})


def gated_mlp(d_ff: str = "d_ff", kept: int = 3) -> Part:
    """SwiGLU and its family, three matrices without bias; tensors of the inner width that are kept: 3 by our product of
    gate and up, 4 by torch's."""
    return Part(
        f"3 * d_model * {d_ff}",
        f"6 * B * T * d_model * {d_ff}",
        activations=f"E * B * T * (d_model + {kept} * {d_ff})",
    )


def top_k(d_ff: str = "d_ff", normalise: bool = True) -> Part:
    """A router, and gated experts of which a token uses top_k; weights kept as picked and as normalised."""
    weights = "2 * top_k + 1" if normalise else "top_k"
    return Part(
        f"d_model * n_experts * (1 + 3 * {d_ff})",
        f"2 * B * T * d_model * (n_experts + 3 * top_k * {d_ff})",
        activations=f"E * B * T * (d_model + n_experts + {weights} + top_k * (3 * d_model + 4 * {d_ff})) "
        "+ 24 * B * T * top_k",
    )


def _with(first: tuple[dict[str, int], ...], *more: tuple[dict[str, int], ...]) -> tuple[dict[str, int], ...]:
    merged = first
    for sizes in more:
        merged = tuple(one | other for one, other in zip(merged, sizes, strict=True))
    return merged


def _norm(make: Callable[..., nn.Module]) -> Callable[..., Example]:
    """Over (B, channels, places), made by ``make(channels=..., ...)`` from the other sizes."""

    def build(B: int, channels: int, places: int, **sizes: int) -> Example:
        return Example(make(channels=channels, **sizes), (torch.randn(B, channels, places),))

    return build


def _deep_norm(B: int, T: int, d_model: int) -> Example:
    x, y = torch.randn(2, B, T, d_model)
    return Example(components.DeepNorm(d_model, 2.0), (x.requires_grad_(), y.requires_grad_()))


def _qk_norm(B: int, T: int, n_heads: int, head_dim: int) -> Example:
    return Example(components.QKNorm(head_dim), tuple(torch.randn(B, n_heads, T, head_dim) for _ in range(2)))


def _ada(B: int, d_model: int, d_condition: int, branches: int) -> Example:
    return Example(components.AdaLNZero(d_model, d_condition, branches), (torch.randn(B, d_condition),))


def _gelu(B: int, T: int, d_model: int) -> Example:
    return Example(components.GELU(), (torch.randn(B, T, d_model, requires_grad=True),))


def _expert_choice(d_model: int, d_ff: int, n_experts: int, capacity_factor: int) -> nn.Module:
    return components.ExpertChoiceMoE(d_model, d_ff, n_experts, float(capacity_factor))


def _switch(d_model: int, d_ff: int, n_experts: int) -> nn.Module:
    return components.SwitchMoE(d_model, d_ff, n_experts, capacity=1_000)


SWIGLU, MOE = gated_mlp(), top_k()
SHARED = "6 * B * T * d_model * n_shared * d_ff"
ENTRIES = {
    "layer_norm": Entry(
        over_text(LayerNorm), TEXT, "2 * d_model", "0",
        activations="E * B * T * (d_model + 2)",
        note="kept for backward are the input, and a mean and a scale a position",
    ),
    "rms_norm": Entry(
        over_text(components.RMSNorm), TEXT, "d_model", "0", activations="E * B * T * (d_model + 1)",
        note="kept for backward are the input, and a scale a position",
    ),
    "group_norm": Entry(
        _norm(components.GroupNorm), _with(PICTURE, ({"n_groups": 3}, {"n_groups": 2})), "2 * channels", "0",
        activations="E * B * (channels * places + 2 * n_groups)",
    ),
    "batch_norm": Entry(
        _norm(components.BatchNorm), PICTURE, "2 * channels", "0",
        activations="E * channels * (B * places + 2)", note="in training",
    ),
    "weight_norm": Entry(
        over_text(lambda d_model, d_out: weight_norm(nn.Linear(d_model, d_out))),
        _with(TEXT, ({"d_out": 5}, {"d_out": 9})),
        "d_model * d_out + 2 * d_out", "2 * B * T * d_model * d_out",
        activations="E * (B * T * d_model + 2 * d_out)",
        note="of a linear layer: a length a row more than without",
    ),
    "spectral_norm": Entry(
        over_text(lambda d_model, d_out: spectral_norm(nn.Linear(d_model, d_out))),
        _with(TEXT, ({"d_out": 5}, {"d_out": 9})),
        "d_model * d_out + d_out", "2 * (B * T + 1) * d_model * d_out",
        activations="E * (B * T * d_model + d_model + d_out + 1)",
        note="of a linear layer; of the three products with a vector torch counts one",
    ),
    "qk_norm": Entry(
        _qk_norm, ({"B": 2, "T": 7, "n_heads": 4, "head_dim": 6}, {"B": 3, "T": 10, "n_heads": 2, "head_dim": 8}),
        "2 * head_dim", "0", activations="2 * E * B * T * n_heads * (head_dim + 1)",
    ),
    "deep_norm": Entry(
        _deep_norm, TEXT, "2 * d_model", "0", activations="E * B * T * (d_model + 2)",
        note="of residual and output only their sum is kept",
    ),
    "dynamic_tanh": Entry(
        over_text(components.DynamicTanh), TEXT, "2 * d_model + 1", "0", activations="2 * E * B * T * d_model",
    ),
    "ada_ln_zero": Entry(
        _ada, ({"B": 2, "d_model": 8, "d_condition": 6, "branches": 2},
               {"B": 3, "d_model": 12, "d_condition": 5, "branches": 3}),
        "3 * branches * d_model * (d_condition + 1)", "6 * B * branches * d_model * d_condition",
        activations="E * B * d_condition", note="once a condition, whatever the length",
    ),
    "gelu": Entry(_gelu, TEXT, "0", "0", activations="E * B * T * d_model", note="with torch's kernel"),
    "swiglu": Entry(
        over_text(components.SwiGLU), _with(TEXT, WIDTHS), SWIGLU.parameters, SWIGLU.flops,
        activations=SWIGLU.activations,
    ),
    "moe": Entry(
        over_text(components.MoE), _with(TEXT, EXPERTS, ({"top_k": 2}, {"top_k": 3})), MOE.parameters, MOE.flops,
        activations=MOE.activations,
        note="work does not grow with the experts, but for the router's",
    ),
    "switch_moe": Entry(
        over_text(_switch), _with(TEXT, EXPERTS),
        "d_model * n_experts * (1 + 2 * d_ff)", "2 * B * T * d_model * (n_experts + 2 * d_ff)",
        activations="E * B * T * (4 * d_model + d_ff + n_experts + 1) + 24 * B * T",
        note="one choice a token, a place for everybody; who finds none costs the router's work only",
    ),
    "expert_choice": Entry(
        over_text(_expert_choice),
        ({"B": 2, "T": 6, "d_model": 8, "d_ff": 20, "n_experts": 4, "capacity_factor": 2},
         {"B": 3, "T": 10, "d_model": 12, "d_ff": 30, "n_experts": 5, "capacity_factor": 1}),
        "d_model * n_experts * (1 + 2 * d_ff)",
        "2 * B * T * d_model * n_experts + 4 * B * T * capacity_factor * d_model * d_ff",
        activations="E * B * T * (d_model + n_experts + capacity_factor * (3 * d_model + 2 * d_ff + 1)) "
                    "+ 8 * B * T * capacity_factor",
        note="B T capacity_factor a multiple of n_experts",
    ),
    "soft_moe": Entry(
        over_text(components.SoftMoE), _with(TEXT, EXPERTS, ({"slots": 3}, {"slots": 2})),
        "d_model * n_experts * (slots + 2 * d_ff) + 1",
        "2 * B * d_model * n_experts * slots * (3 * T + 2 * d_ff)",
        activations="E * n_experts * slots * (d_model + 2 + 2 * B * (T + d_model + d_ff)) + 2 * E * B * T * d_model",
    ),
    "deepseek_moe": Entry(
        over_text(components.DeepSeekMoE),
        _with(TEXT, EXPERTS, ({"top_k": 2, "n_shared": 1}, {"top_k": 3, "n_shared": 2})),
        f"{MOE.parameters} + 3 * d_model * n_shared * d_ff", f"{MOE.flops} + {SHARED}",
        activations=f"{MOE.activations} + 3 * E * B * T * n_shared * d_ff",
    ),
}  # fmt: skip
