"""Which tensors of a Hugging Face checkpoint make up which parameter of a HybridLM.

The one idea: each parameter of ours is one tensor of theirs, or a stack of two or three (query, key and value; gate and
up), so one table of names converts both ways. Layouts: Llama (also Mistral and Qwen2), dense GraniteMoeHybrid, Bamba.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nexus.core.hybrid_config import HybridConfig


@dataclass(frozen=True)
class Layout:
    """Where a family of checkpoints departs from the others' names.

    Attributes:
        name: what it is called in messages.
        final_norm, mlp_norm, gate_up, down: module names (``gate_up`` one for a fused matrix, two for separate ones).
    """

    name: str
    final_norm: str
    mlp_norm: str
    gate_up: tuple[str, ...]
    down: str


LLAMA = Layout("llama", "norm", "post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj")
GRANITE = Layout(
    "granitemoehybrid", "norm", "post_attention_layernorm", ("shared_mlp.input_linear",), "shared_mlp.output_linear",
)  # fmt: skip
BAMBA = Layout(
    "bamba", "final_layernorm", "pre_ff_layernorm", ("feed_forward.gate_proj", "feed_forward.up_proj"),
    "feed_forward.down_proj",
)  # fmt: skip

QKV = tuple(f"self_attn.{name}_proj" for name in "qkv")
# Ours to theirs, below `mixer` and below `mamba`; biases of the projections are added where the config has them.
MAMBA_NAMES = {
    "in_proj.weight": "in_proj.weight",
    "conv_weight": "conv1d.weight",
    "conv_bias": "conv1d.bias",
    "A_log": "A_log",
    "D": "D",
    "dt_bias": "dt_bias",
    "norm.weight": "norm.weight",
    "out_proj.weight": "out_proj.weight",
}
MAMBA_BIASES = ("in_proj.bias", "out_proj.bias")


def name_table(config: HybridConfig, layout: Layout) -> dict[str, tuple[str, ...]]:
    """Each parameter of ours and the tensors that are stacked (along the first dimension) to make it."""
    table: dict[str, tuple[str, ...]] = {
        "embed.weight": ("model.embed_tokens.weight",),
        "backbone.norm.weight": (f"model.{layout.final_norm}.weight",),
    }
    if not config.tie_embeddings:
        table["lm_head.weight"] = ("lm_head.weight",)
    for i, kind in enumerate(config.layers):
        for ours, theirs in _block_names(config, layout, kind).items():
            table[f"backbone.blocks.{i}.{ours}"] = tuple(f"model.layers.{i}.{name}" for name in theirs)
    return table


def _block_names(config: HybridConfig, layout: Layout, kind: str) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {
        "mixer_norm.weight": ("input_layernorm.weight",),
        "mlp_norm.weight": (f"{layout.mlp_norm}.weight",),
        "mlp.gate_up_proj.weight": tuple(f"{name}.weight" for name in layout.gate_up),
        "mlp.down_proj.weight": (f"{layout.down}.weight",),
    }
    if kind == "A":
        names["mixer.o_proj.weight"] = ("self_attn.o_proj.weight",)
        for part in ("weight", "bias") if config.qkv_bias else ("weight",):
            names[f"mixer.qkv_proj.{part}"] = tuple(f"{name}.{part}" for name in QKV)
        return names
    assert kind == "M", "the window of a 'W' layer has no place in any layout"
    mamba = MAMBA_NAMES | ({name: name for name in MAMBA_BIASES} if config.ssm_bias else {})
    return names | {f"mixer.{ours}": (f"mamba.{theirs}",) for ours, theirs in mamba.items()}


def hf_views(state: Mapping[str, Tensor], config: HybridConfig, layout: Layout) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor of a checkpoint as a view of our parameters: read them to save, write into them to load.

    Args:
        state: ``model.state_dict()``, whose tensors share memory with the model.
    """
    for ours, theirs in name_table(config, layout).items():
        tensor = state[ours].unsqueeze(1) if ours.endswith("conv_weight") else state[ours]  # (C, K) as (C, 1, K)
        rows = _rows(config, ours) if len(theirs) > 1 else [len(tensor)]
        yield from zip(theirs, tensor.split(rows), strict=True)


def to_hf(state: Mapping[str, Tensor], config: HybridConfig, layout: Layout) -> dict[str, Tensor]:
    """A checkpoint's tensors by name, from our state dict; they share its memory."""
    return dict(hf_views(state, config, layout))


@torch.no_grad()
def from_hf(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor], config: HybridConfig, layout: Layout) -> None:
    """Copy a checkpoint's tensors into our state dict, one at a time: the inverse of :func:`to_hf`.

    Raises:
        ValueError: a tensor is missing or of another shape.
    """
    for name, view in hf_views(state, config, layout):
        if name not in tensors:
            raise ValueError(f"tensor {name} is missing; fetch the checkpoint again")
        tensor = tensors[name]
        if tensor.shape != view.shape:
            raise ValueError(
                f"tensor {name} has shape {tuple(tensor.shape)}, by the config it is {tuple(view.shape)}; "
                "the weights belong to another config, fetch the checkpoint again"
            )
        view.copy_(tensor)


def _rows(config: HybridConfig, ours: str) -> list[int]:
    """Rows of each tensor in a stack."""
    if ".gate_up_proj." in ours:
        return [config.d_ff, config.d_ff]
    return [config.n_heads * config.head_dim, *[config.n_kv_heads * config.head_dim] * 2]
