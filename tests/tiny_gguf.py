"""A tiny GGUF file of random weights, written with the gguf package the way llama.cpp's converter lays it out."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from tokenizers import pre_tokenizers

WIDTH, LAYERS, HEADS, KV_HEADS, HIDDEN, CONTEXT = 64, 2, 4, 2, 96, 128
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt", "he", "Ġthe"]
MERGES = ["Ġ t", "h e", "Ġt he"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def write_tiny_gguf(
    path: Path,
    arch: str = "llama",
    tied: bool = True,
    biased: bool | None = None,
    rotated: int = WIDTH // HEADS,
    scaling: bool = False,
) -> Path:
    """Write a model of `arch` (llama or qwen2), its matrices quantised."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(5_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(rotated)
    writer.add_vocab_size(len(TOKENS))
    _add_tokenizer(writer)
    for name, values, kind in _tensors(tied, arch == "qwen2" if biased is None else biased):
        data = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    if scaling:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)


def _tensors(tied: bool, biased: bool) -> list[tuple[str, np.ndarray, Kind]]:
    source = np.random.default_rng(0)
    kv = WIDTH // HEADS * KV_HEADS

    def weights(*shape: int) -> np.ndarray:
        return (source.standard_normal(shape) * 0.1).astype(np.float32)

    found = [
        ("token_embd.weight", weights(len(TOKENS), WIDTH), Kind.Q8_0),
        ("output_norm.weight", 1 + weights(WIDTH), Kind.F32),
    ]
    if not tied:
        found.append(("output.weight", weights(len(TOKENS), WIDTH), Kind.F16))
    shapes = {
        "attn_q": (WIDTH, WIDTH), "attn_k": (kv, WIDTH), "attn_v": (kv, WIDTH), "attn_output": (WIDTH, WIDTH),
        "ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN),
    }  # fmt: skip
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            found.append((f"blk.{layer}.{name}.weight", weights(*shape), Kind.Q4_1))
            if biased and name in ("attn_q", "attn_k", "attn_v"):
                found.append((f"blk.{layer}.{name}.bias", weights(shape[0]), Kind.F32))
        for name in ("attn_norm", "ffn_norm"):
            found.append((f"blk.{layer}.{name}.weight", 1 + weights(WIDTH), Kind.F32))
    return found
