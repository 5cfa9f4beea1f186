"""What eight-bit weights give and take: bytes, seconds of a decode step, perplexity.

    python benchmarks/int8.py --release nexus-release-v1
    python benchmarks/int8.py                               random weights of the release's size, no perplexity

The text of the perplexity is this project's own documentation; what counts is the ratio. Decode
steps are taken in turns, medians count. Writes benchmarks/results/int8.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.inference.quantization import Int8Linear, quantize, weight_bytes
from nexus.inference.release import load_release

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "int8.json"
ROUNDS, LENGTH, BLOCKS = 40, 512, 4


@torch.inference_mode()
def main() -> None:
    """Measure, print, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--release", type=Path)
    asked = options.parse_args()
    torch.set_flush_denormal(True)
    release = load_release(asked.release) if asked.release else None
    size = HybridConfig(vocab_size=49_152, d_model=576, n_layers=30, d_ff=1_536, n_heads=9, n_kv_heads=3)
    model = (release.model if release else HybridLM(size)).eval()
    models = {"float32": model, "int8": quantize(copy.deepcopy(model))}
    seconds, reading = decode(models), prefill(models)
    rows = {
        name: {
            "bytes": weight_bytes(each),
            "decode_seconds": seconds[name],
            "prefill_seconds": reading[name],
        }
        for name, each in models.items()
    }
    if release:
        pages = "\n\n".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))
        ids = torch.tensor(release.tokenizer.encode(pages))
        for name, each in models.items():
            rows[name]["perplexity"] = perplexity(each, ids[: LENGTH * BLOCKS].view(-1, LENGTH))
    products = {str(at_once): product(at_once) for at_once in (1, 4, 16, 64, 512)}
    print(json.dumps({"models": rows, "speed_of_a_product": products}, indent=1))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"models": rows, "speed_of_a_product": products}, indent=1) + "\n", encoding="utf-8")


def decode(models: dict[str, Any]) -> dict[str, float]:
    """Median seconds of one step after 512 tokens, the models taking turns."""
    ids, token = torch.randint(0, 1_000, (1, LENGTH)), torch.tensor([[7]])
    states = {name: model(ids, state=model.init_state(1), last_only=True).state for name, model in models.items()}
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            start = time.perf_counter()
            model(token, state=states[name])
            found[name].append(time.perf_counter() - start)
    return {name: median(times[3:]) for name, times in found.items()}


def prefill(models: dict[str, Any]) -> dict[str, float]:
    """Median seconds of reading 512 tokens, the models taking turns."""
    ids = torch.randint(0, 1_000, (1, LENGTH))
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(5):
        for name, model in models.items():
            start = time.perf_counter()
            model(ids, state=model.init_state(1), last_only=True)
            found[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in found.items()}


def perplexity(model: HybridLM, ids: torch.Tensor) -> float:
    """Of rows (n, LENGTH)."""
    return math.exp(F.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).item())


def product(rows: int) -> float:
    """Speed over the floating-point product of so many rows, on one SwiGLU's matrix."""
    linear = torch.nn.Linear(576, 3_072, bias=False)
    ways, x = {"float32": linear, "int8": Int8Linear(linear)}, torch.randn(rows, 576)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way(x)
            times[name].append(time.perf_counter() - start)
    return median(times["float32"]) / median(times["int8"])


if __name__ == "__main__":
    main()
