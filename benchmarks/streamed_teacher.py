"""Peak memory and speed of a teacher streamed layer by layer.

    python benchmarks/streamed_teacher.py --gigabytes 1 --folder /tmp/teacher

Writes a Llama of random weights in several files (kept for the next time), streams a text through it, and prints one
JSON line: what was read, the peak of resident memory before and after, and how much of reading hid behind computing.
"""

import argparse
import json
import resource
import shutil
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from nexus.core.hybrid_config import HybridConfig
from nexus_final.sli_integrator import SequentialLayerIntegrator
from nexus_final.teacher_source import BlockRequest, Sparsity

WIDTH, FEED_FORWARD, VOCABULARY = 1_024, 2_816, 16_384


def write_teacher(folder: Path, gigabytes: float) -> None:
    """A layer a file, like the checkpoints of large models."""
    shapes = {
        "input_layernorm": (WIDTH,),
        "post_attention_layernorm": (WIDTH,),
        "self_attn.q_proj": (WIDTH, WIDTH),
        "self_attn.k_proj": (WIDTH // 4, WIDTH),
        "self_attn.v_proj": (WIDTH // 4, WIDTH),
        "self_attn.o_proj": (WIDTH, WIDTH),
        "mlp.gate_proj": (FEED_FORWARD, WIDTH),
        "mlp.up_proj": (FEED_FORWARD, WIDTH),
        "mlp.down_proj": (WIDTH, FEED_FORWARD),
    }
    layer_bytes = 4 * sum(torch.Size(shape).numel() for shape in shapes.values())
    layers = max(1, round((gigabytes * 1e9 - 8 * VOCABULARY * WIDTH) / layer_bytes))
    ends = {"model.embed_tokens": (VOCABULARY, WIDTH), "model.norm": (WIDTH,), "lm_head": (VOCABULARY, WIDTH)}
    files = {
        f"model-{i:05d}.safetensors": {f"model.layers.{i}.{n}": s for n, s in shapes.items()} for i in range(layers)
    }
    files["model-ends.safetensors"] = ends
    for file, tensors in files.items():
        save_file(
            {f"{name}.weight": torch.randn(shape) * 0.02 + (len(shape) == 1) for name, shape in tensors.items()},
            folder / file,
        )
    places = {f"{name}.weight": file for file, tensors in files.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    config = HybridConfig(
        vocab_size=VOCABULARY, d_model=WIDTH, n_layers=layers, plan="A", n_heads=16, n_kv_heads=4, d_ff=FEED_FORWARD
    )
    about = {
        "model_type": "llama",
        "hidden_size": config.d_model,
        "num_hidden_layers": layers,
        "vocab_size": VOCABULARY,
    }
    about |= {"num_attention_heads": 16, "num_key_value_heads": 4, "intermediate_size": FEED_FORWARD}
    (folder / "config.json").write_text(json.dumps(about))


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reset_peak() -> None:
    """Forget the peak so far (Linux), so that writing the teacher doesn't count."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=1_024)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    teacher_folder = options.folder / f"llama-{options.gigabytes:g}"
    if not (teacher_folder / "config.json").exists():
        shutil.rmtree(teacher_folder, ignore_errors=True)
        teacher_folder.mkdir(parents=True)
        write_teacher(teacher_folder, options.gigabytes)
    reset_peak()
    before = peak_mb()
    teacher = SequentialLayerIntegrator(teacher_folder, options.folder / "work", batch_tokens=512)
    ids = torch.randint(VOCABULARY, (max(1, options.tokens // 256), 256))
    start = time.perf_counter()
    for _ in teacher.sparse_blocks([BlockRequest(ids, 0)], Sparsity()):
        pass
    seconds = time.perf_counter() - start
    size = teacher.files.total_bytes(teacher.files.home)
    result = {
        "teacher_bytes": size,
        "teacher_mb": round(size / 2**20),
        "bytes_read": teacher.files.bytes_read,
        "tokens": ids.numel(),
        "rss_before_mb": round(before),
        "peak_rss_mb": round(peak_mb()),
        "tokens_per_second": round(ids.numel() / seconds, 1),
        "seconds": {name: round(value, 2) for name, value in teacher.seconds.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
