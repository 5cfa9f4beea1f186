"""Read a GGUF file of the Llama family into a Hugging Face style folder of float32 safetensors.

The one idea: the file is data with named fields and tensors; each tensor is dequantised by the `gguf` package, renamed,
and written on, shard by shard, so that a model of any size passes through in little memory. llama.cpp stores the query
and key rows of Llama-architecture models with the two halves of each rotary pair interleaved; that is undone here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nexus.data.packages import Progress
from nexus_final.errors import UserError

Array = NDArray[np.float32]

SHARD_BYTES = 2 << 30
_LAYOUTS = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
_BIASED: dict[str, tuple[str, ...]] = {"llama": (), "qwen2": ("attn_q", "attn_k", "attn_v")}
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class GGUFModel:
    """An opened GGUF file: its configuration, and its tensors under Hugging Face names."""

    def __init__(self, path: Path) -> None:
        """Open and check it. Raises UserError for a damaged file or an architecture that isn't read here."""
        try:
            import gguf
        except ImportError as error:
            raise UserError("gguf", "reading GGUF needs the gguf package", "pip install 'nexus-ai[factory]'") from error
        self.path = path
        try:
            self._reader = gguf.GGUFReader(str(path))
        except (ValueError, OSError, IndexError, KeyError, OverflowError) as error:
            raise UserError(str(path), f"isn't a whole GGUF file ({error})", "fetch it again") from error
        self._dequantize = gguf.quants.dequantize
        self.architecture = str(self.field("general.architecture"))
        self._check()

    def field(self, name: str, default: Any = None) -> Any:
        """Return a metadata value of the file, or `default`."""
        found = self._reader.fields.get(name)
        return default if found is None else found.contents()

    def _own(self, name: str, default: Any = None) -> Any:
        return self.field(f"{self.architecture}.{name}", default)

    def _check(self) -> None:
        if self.architecture not in _LAYOUTS:
            raise UserError(
                self.path.name,
                f"has architecture {self.architecture!r}; read here are {', '.join(_LAYOUTS)}",
                "use the model's safetensors folder or hub id instead",
            )
        what = self._beyond_us()
        if what:
            raise UserError(self.path.name, what, "use the model's safetensors folder or hub id instead")

    def _beyond_us(self) -> str | None:
        """Say what in the file would come out wrong here, if anything."""
        names = {tensor.name for tensor in self._reader.tensors}
        if self._own("rope.scaling.type", "none") != "none" or "rope_freqs.weight" in names:
            return "scales its rotary positions"
        if self._own("rope.dimension_count", self.head_dim) != self.head_dim:
            return "rotates only a part of each head"
        biased = _BIASED[self.architecture]
        strange = [n for n in names if hf_name(n) is None or (n.endswith(".bias") and n.split(".")[-2] not in biased)]
        return f"has tensors that aren't known: {', '.join(sorted(strange)[:4])}" if strange else None

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        shared = self._own("embedding_length") // self._own("attention.head_count")
        return int(self._own("attention.key_length", shared))

    def __len__(self) -> int:
        return len(self._reader.tensors)

    @property
    def tied(self) -> bool:
        """Whether the output head shares the embedding's weights."""
        return all(tensor.name != "output.weight" for tensor in self._reader.tensors)

    def config(self) -> dict[str, Any]:
        """Return the model's `config.json` in Hugging Face's terms."""
        heads = int(self._own("attention.head_count"))
        embedding = next(tensor for tensor in self._reader.tensors if tensor.name == "token_embd.weight")
        config = {
            "architectures": [_LAYOUTS[self.architecture]],
            "model_type": self.architecture,
            "vocab_size": int(embedding.shape[1]),
            "hidden_size": int(self._own("embedding_length")),
            "intermediate_size": int(self._own("feed_forward_length")),
            "num_hidden_layers": int(self._own("block_count")),
            "num_attention_heads": heads,
            "num_key_value_heads": int(self._own("attention.head_count_kv", heads)),
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": int(self._own("context_length")),
            "rms_norm_eps": float(self._own("attention.layer_norm_rms_epsilon")),
            "rope_parameters": {"rope_type": "default", "rope_theta": float(self._own("rope.freq_base", 10_000.0))},
            "tie_word_embeddings": self.tied,
            "dtype": "float32",
        }
        if self.architecture == "llama":
            config |= {"attention_bias": False, "mlp_bias": False}
        return {**config, **self.special_ids()}

    def special_ids(self) -> dict[str, int]:
        """Return the ids of the begin, end and padding tokens, as far as the file names them."""
        pairs = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
        found = {name: self.field(f"tokenizer.ggml.{key}_token_id") for name, key in pairs.items()}
        return {name: int(value) for name, value in found.items() if value is not None}

    def tensors(self) -> Iterator[tuple[str, Array]]:
        """Yield (Hugging Face name, float32 array) of each tensor, one at a time."""
        heads = int(self._own("attention.head_count"))
        kv_heads = int(self._own("attention.head_count_kv", heads))
        interleaved = {"attn_q": heads, "attn_k": kv_heads} if self.architecture == "llama" else {}
        for tensor in self._reader.tensors:
            name = hf_name(tensor.name)
            if name is None:  # refused on opening
                continue
            values = self._dequantize(tensor.data, tensor.tensor_type).astype(np.float32, copy=False)
            part = tensor.name.split(".")[-2]
            yield name, uninterleave(values, interleaved[part]) if part in interleaved else values


def hf_name(name: str) -> str | None:
    """Translate a GGUF tensor name (`blk.3.attn_q.weight`), or return None when it has no counterpart."""
    *stem, suffix = name.split(".")
    if suffix not in ("weight", "bias"):
        return None
    if len(stem) == 1 and stem[0] in _TOP:
        return f"{_TOP[stem[0]]}.{suffix}"
    if len(stem) == 3 and stem[0] == "blk" and stem[1].isdigit() and stem[2] in _LAYER:
        return f"model.layers.{stem[1]}.{_LAYER[stem[2]]}.{suffix}"
    return None


def uninterleave(values: Array, heads: int) -> Array:
    """Undo llama.cpp's row order: (head, pair, half) back to (head, half, pair). Takes weights and biases."""
    rows = values.reshape(heads, -1, 2, *values.shape[1:])
    return np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(values.shape)


def write_folder(model: GGUFModel, folder: Path, progress: Progress, shard_bytes: int = SHARD_BYTES) -> None:
    """Write `config.json`, `generation_config.json` and the weights as float32 safetensors below `folder`.

    One file `model.safetensors` when all fits in `shard_bytes`, else numbered shards and their index.
    """
    from safetensors.numpy import save_file

    shards: list[Path] = []
    placed: dict[str, Path] = {}
    waiting: dict[str, Array] = {}
    total = size = 0

    def flush() -> None:
        path = folder / f"shard-{len(shards)}.safetensors"
        save_file(waiting, path, metadata={"format": "pt"})
        placed.update(dict.fromkeys(waiting, path))
        shards.append(path)
        waiting.clear()

    step = max(len(model) // 4, 1)  # say something a few times, not for each of hundreds of tensors
    for count, (name, values) in enumerate(model.tensors(), start=1):
        if waiting and size + values.nbytes > shard_bytes:
            flush()
            size = 0
        waiting[name] = np.ascontiguousarray(values)
        size, total = size + values.nbytes, total + values.nbytes
        if count % step == 0:
            progress(f"converting {model.path.name}: {count} of {len(model)} tensors, {total / 1e6:.0f} MB")
    flush()
    _name_shards(folder, shards, placed, total)
    generation = {**model.special_ids(), "_from_model_config": True}
    _write_json(folder / "generation_config.json", generation)
    _write_json(folder / "config.json", model.config())


def _name_shards(folder: Path, shards: list[Path], placed: dict[str, Path], total: int) -> None:
    if len(shards) == 1:
        shards[0].rename(folder / "model.safetensors")
        return
    names = {path: f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i, path in enumerate(shards, start=1)}
    for path, name in names.items():
        path.rename(folder / name)
    weight_map = {tensor: names[path] for tensor, path in sorted(placed.items())}
    _write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
