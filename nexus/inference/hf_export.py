"""A student as a folder that plain transformers (and the engines that read its format) loads.

The one idea: what the layout can't hold is refused before anything is written, with what to do about it; so a folder
that exists computes the same logits as the model it came from.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from nexus.core.base import ConfigError, fault
from nexus.core.files import atomic_file, atomic_write_text
from nexus.core.hybrid_config import HybridConfig
from nexus.core.state_space import HybridLM
from nexus.core.windows import settle_window
from nexus.inference.hf_config import CONFIG_FILE
from nexus.inference.safetensors_folder import SINGLE
from nexus.inference.weight_layouts import GRANITE, LLAMA, Layout, to_hf

LayoutName = Literal["auto", "granite", "llama"]
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)
SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def save_hf_folder(
    model: HybridLM, folder: str | Path, tokenizer_folder: str | Path | None = None, layout: LayoutName = "auto"
) -> Path:
    """Write ``config.json`` and ``model.safetensors``, each whole or not at all; returns the folder.

    Args:
        tokenizer_folder: where to copy the tokenizer's files and the ids of special tokens from.
        layout: "granite" (dense GraniteMoeHybrid), "llama" (attention layers only), or "auto": Llama for a model of
            attention layers only, else Granite. 'W' layers whose window is 0 are written as state-space layers.

    Raises:
        ValueError: the layout can't hold this model, or there is no tokenizer in ``tokenizer_folder``.
    """
    target = _target(model, layout)
    if "W" in model.config.layers:
        model = settle_window(model, 0)  # 'W' layers without a window are 'M' layers
    config, folder = model.config, Path(folder)
    special = {} if tokenizer_folder is None else _special_ids(Path(tokenizer_folder))
    tensors = to_hf(model.state_dict(), config, target)
    if config.qkv_bias:
        tensors |= _zero_output_biases(tensors, config)
    text = json.dumps(_config_json(config, target) | special | _dtype_json(model.dtype), indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer_folder is not None:
        _copy_tokenizer(Path(tokenizer_folder), folder)
    with atomic_file(folder / SINGLE) as temporary:
        save_file({name: t.contiguous() for name, t in tensors.items()}, str(temporary), {"format": "pt"})
    atomic_write_text(folder / CONFIG_FILE, text)  # last: a folder with a config is complete
    return folder


# ---- what the layouts can't hold ------------------------------------------------------------------------------------


def _target(model: HybridLM, layout: str) -> Layout:
    config = model.config
    attention_only = set(config.layers) == {"A"}
    target = LLAMA if layout == "llama" or (layout == "auto" and attention_only) else GRANITE
    faults = _choice_faults(layout) + _window_faults(model)
    if target is LLAMA and not attention_only:
        faults.append(
            fault("layout", layout, f"has no state-space layers, and plan = {config.plan!r}", "use 'granite'")
        )
    if target is GRANITE:
        faults += _granite_faults(config)
    if "A" in config.layers and config.rotary_fraction != 1.0:
        cure = "train a student with rotary_fraction=1"
        faults.append(fault("rotary_fraction", config.rotary_fraction, "has no place in the layout", cure))
    if faults:
        raise ConfigError("save_hf_folder", faults)
    return target


def _choice_faults(layout: str) -> list[str]:
    if layout in ("auto", "granite", "llama"):
        return []
    return [fault("layout", layout, "is not a choice", "give one of 'auto', 'granite', 'llama'")]


def _window_faults(model: HybridLM) -> list[str]:
    keep = "or keep the model in Nexus's own format with model.save(folder)"
    faults, window, attention_window = [], model.backbone.window, model.config.attention_window
    if "W" in model.config.layers and window:
        cure = f"train the student without it and call model.set_window(0), {keep}"
        faults.append(fault("window", window, "of 'W' layers has no place in the layout", cure))
    if "T" in model.config.layers:
        faults.append(fault("plan", model.config.plan, "has memory layers, which the layout lacks", keep[3:]))
    if "A" in model.config.layers and attention_window:
        cure = f"use attention_window=0, {keep}"
        faults.append(fault("attention_window", attention_window, "(with sinks) has no place in the layout", cure))
    return faults


def _granite_faults(config: HybridConfig) -> list[str]:
    faults, inner = [], config.ssm_heads * config.ssm_head_dim
    if "A" in config.layers and config.n_heads * config.head_dim != config.d_model:
        cure = f"the layout has head_dim = d_model / n_heads = {config.d_model / config.n_heads:g}; use that"
        faults.append(fault("head_dim", config.head_dim, "doesn't follow from the other sizes", cure))
    if "A" not in config.layers:
        cure = "give the student at least one 'A', or keep the model in Nexus's own format with model.save(folder)"
        faults.append(fault("plan", config.plan, "has no attention layer, and transformers' cache wants one", cure))
    if set(config.layers) != {"A"} and inner % config.d_model:
        cure = f"choose them so that the product is a multiple of d_model = {config.d_model}"
        faults.append(fault("ssm_heads * ssm_head_dim", inner, "is no whole multiple of d_model", cure))
    return faults


# ---- the files ------------------------------------------------------------------------------------------------------


def _config_json(config: HybridConfig, layout: Layout) -> dict[str, Any]:
    special: dict[str, Any] = dict.fromkeys(SPECIAL_IDS)  # null: transformers' own defaults would end answers at id 2
    common = special | {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "attention_bias": config.qkv_bias,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "max_position_embeddings": config.max_seq_length,
        "rope_theta": config.rope_theta,  # transformers 4 reads this, 5 the next
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tie_embeddings,
        "use_cache": True,
    }
    if layout is LLAMA:
        head = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
        return head | common | {"head_dim": config.head_dim, "mlp_bias": False}
    head = {"architectures": ["GraniteMoeHybridForCausalLM"], "model_type": "granitemoehybrid"}
    return head | common | _granite_json(config)


def _granite_json(config: HybridConfig) -> dict[str, Any]:
    mamba = {
        "mamba_n_heads": config.ssm_heads,
        "mamba_d_head": config.ssm_head_dim,
        "mamba_expand": config.ssm_heads * config.ssm_head_dim // config.d_model,
    }
    if set(config.layers) == {"A"}:  # the sizes matter to nobody, but transformers checks their product
        mamba = {"mamba_n_heads": 1, "mamba_d_head": config.d_model, "mamba_expand": 1}
    return mamba | {
        "num_local_experts": 0,
        "num_experts_per_tok": 0,
        "shared_intermediate_size": config.d_ff,
        "position_embedding_type": "rope",
        "attention_multiplier": config.head_dim**-0.5,
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "logits_scaling": 1.0,
        # The old spelling: transformers 5 understands both, llama.cpp's converter and older vLLM this one only.
        "layer_types": ["attention" if kind == "A" else "mamba" for kind in config.layers],
        "mamba_n_groups": config.ssm_groups,
        "mamba_d_state": config.d_state,
        "mamba_d_conv": config.d_conv,
        "mamba_chunk_size": 256,
        "mamba_conv_bias": True,
        "mamba_proj_bias": config.ssm_bias,
    }


def _dtype_json(dtype: torch.dtype) -> dict[str, str]:
    name = str(dtype).removeprefix("torch.")
    return {"dtype": name, "torch_dtype": name}  # transformers 5 and 4


def _zero_output_biases(tensors: dict[str, Tensor], config: HybridConfig) -> dict[str, Tensor]:
    """Both layouts have a bias on all four projections or on none; ours has none on the output."""
    like = tensors["model.embed_tokens.weight"]
    names = [f"model.layers.{i}.self_attn.o_proj.bias" for i, kind in enumerate(config.layers) if kind == "A"]
    return {name: like.new_zeros(config.d_model) for name in names}


def _special_ids(source: Path) -> dict[str, Any]:
    if not any((source / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ValueError(f"tokenizer_folder = {str(source)!r} holds no tokenizer; give a folder with a tokenizer.json")
    found: dict[str, Any] = {}
    for name in (CONFIG_FILE, "generation_config.json"):  # the second is the more careful one, where it exists
        if (source / name).is_file():
            data = json.loads((source / name).read_text(encoding="utf-8"))
            found |= {key: data[key] for key in SPECIAL_IDS if data.get(key) is not None}
    return found


def _copy_tokenizer(source: Path, folder: Path) -> None:
    if source.resolve() == folder.resolve():
        return
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            with atomic_file(folder / name) as temporary:
                shutil.copyfile(source / name, temporary)
