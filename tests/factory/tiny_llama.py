"""A Llama (or Qwen2) of random weights in Hugging Face's layout, in as many files as wanted."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from nexus.core.hybrid_config import HybridConfig
from nexus.core.state_space import HybridLM
from nexus.inference.weight_layouts import LLAMA, to_hf


def write_llama(
    folder: Path,
    shards: int = 3,
    *,
    tied: bool = False,
    bias: bool = False,
    dtype: torch.dtype = torch.float32,
    **sizes: int,
) -> HybridLM:
    """Write it and return the model; one shard is a single file without an index."""
    wanted = {"vocab_size": 150, "d_model": 32, "n_layers": 4, "n_heads": 4, "n_kv_heads": 2, "d_ff": 48, **sizes}
    config = HybridConfig(plan="A", qkv_bias=bias, tie_embeddings=tied, norm_eps=1e-6, **wanted)
    torch.manual_seed(0)
    model = HybridLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    tensors = {name: t.to(dtype).contiguous() for name, t in to_hf(model.state_dict(), config, LLAMA).items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(hf_config(config)))
    save_shards(folder, tensors, shards)
    return model


def hf_config(config: HybridConfig) -> dict:
    """``config.json`` of a Llama, or of a Qwen2 where there are biases."""
    return {
        "model_type": "qwen2" if config.qkv_bias else "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "intermediate_size": config.d_ff,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "max_position_embeddings": config.max_seq_length,
        "tie_word_embeddings": config.tie_embeddings,
    }


def save_shards(folder: Path, tensors: dict[str, torch.Tensor], count: int) -> None:
    """Tensors in their order, cut into files of about as many tensors each."""
    if count == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    names, places = list(tensors), {}
    for number in range(count):
        file = f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        mine = names[len(names) * number // count : len(names) * (number + 1) // count]
        save_file({name: tensors[name] for name in mine}, folder / file, {"format": "pt"})
        places |= dict.fromkeys(mine, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
