"""The backbone beside transformers' models of the same size: training step, prefill, decode, memory; one run.

    python benchmarks/backbone.py                       everything (about 25 minutes on two cores)
    python benchmarks/backbone.py --only train,decode --rounds 3 --models "nexus,Bamba,Llama"

Every model has the same threads and denormals flushed. Rounds go through the models in turn, so that a machine whose
speed drifts is fair to all; medians count, ratios are those of medians. Writes benchmarks/results/backbone.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peers  # beside this script
import torch

RESULTS = Path(__file__).parent / "results" / "backbone.json"
PREFILL = (512, 2_048, 4_096, 8_192)
TRAIN_BATCH, TRAIN_LENGTH = 4, 512
DECODE_STEPS = 48
MEMORY_LENGTH = 32_768
# Jamba's training scan is a Python loop over time: a step takes minutes, so it is left out and said so.
TOO_SLOW = {("train", "Jamba")}


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="nexus,nexus compiled,Bamba,Llama,Jamba,Mamba2")
    parser.add_argument("--only", default="train,prefill,decode,memory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(json.dumps(memory_here(options.memory_of)))
        return
    names, wanted = options.models.split(","), options.only.split(",")
    result: dict[str, Any] = {"machine": machine(), "rounds": options.rounds}
    models = {name: peers.build(name) for name in names}
    result["parameters"] = {name: peer.parameters for name, peer in models.items()}
    if "train" in wanted:
        chosen = {n: p for n, p in models.items() if ("train", n) not in TOO_SLOW}
        result["train_seconds"] = in_turn({n: training_step(p) for n, p in chosen.items()}, options.rounds)
    eager = {n: p for n, p in models.items() if p.name != "nexus compiled"}
    if "prefill" in wanted:
        result["prefill_seconds"] = {
            str(n): in_turn({name: prefill(p, n) for name, p in eager.items()}, 3 if n > 2_048 else options.rounds)
            for n in PREFILL
        }
    if "decode" in wanted:
        result["decode_seconds"] = in_turn({n: decode(p) for n, p in models.items()}, options.rounds)
    if "memory" in wanted:
        result["memory_over_base"] = {name: memory(name, options.threads) for name in eager}
    report(result)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the machine gives: matrix products and reading from memory, by measurement."""
    a, b = torch.randn(2_048, 2_048), torch.randn(2_048, 2_048)
    big = torch.randn(64 * 2**20)
    gemm = min(timed(lambda: a @ b) for _ in range(10))
    read = min(timed(lambda: big.sum()) for _ in range(10))
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "gemm_gflops": 2 * 2_048**3 / gemm / 1e9,
        "read_gb_per_second": big.numel() * 4 / read / 1e9,
    }


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(calls: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median seconds of each, measured in turn after one warm-up round."""
    for call in calls.values():
        call()
    rows: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            rows[name].append(call())
    return {name: statistics.median(row) for name, row in rows.items()}


def training_step(peer: peers.Peer) -> Callable[[], float]:
    """Forward, backward and a fused AdamW step on 4 x 512 tokens."""
    ids = torch.randint(peers.VOCAB, (TRAIN_BATCH, TRAIN_LENGTH))
    optimiser = torch.optim.AdamW(peer.model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        peer.loss(ids).backward()
        optimiser.step()

    return lambda: timed(step)


def prefill(peer: peers.Peer, length: int) -> Callable[[], float]:
    """Reading a prompt into a cache, logits of the last position only."""
    ids = torch.randint(peers.VOCAB, (1, length))

    def call() -> float:
        peer.model.eval()
        with torch.inference_mode():
            return timed(lambda: peer.prefill(ids))

    return call


def decode(peer: peers.Peer) -> Callable[[], float]:
    """Seconds a token, one row, after a prompt of 64 tokens."""
    ids = torch.randint(peers.VOCAB, (1, 64))

    def call() -> float:
        peer.model.eval()
        with torch.inference_mode():
            cache = peer.prefill(ids)
            token = ids[:, :1]
            cache = peer.decode(token, cache)
            start = time.perf_counter()
            for _ in range(DECODE_STEPS):
                cache = peer.decode(token, cache)
            return (time.perf_counter() - start) / DECODE_STEPS

    return call


def memory(name: str, threads: int) -> float:
    """Peak bytes above the loaded model while reading 32k tokens, in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", name, "--threads", str(threads)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def memory_here(name: str) -> float:
    """Peak resident bytes of a prefill of 32k tokens above those before it (after a short warm-up)."""
    peer = peers.build(name)
    peer.model.eval()
    with torch.inference_mode():
        peer.prefill(torch.randint(peers.VOCAB, (1, 16)))
        before = _peak()
        peer.prefill(torch.randint(peers.VOCAB, (1, MEMORY_LENGTH)))
    return _peak() - before


def _peak() -> float:
    """Peak resident bytes of this program. Not getrusage: its peak begins with that of the process which started us."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(float(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024.0


def report(result: dict[str, Any]) -> None:
    """Print what was measured, as seconds and as our ratio to each peer."""
    print(f"machine: {result['machine']}")
    flops = 6 * result["parameters"].get("nexus", 0) * TRAIN_BATCH * TRAIN_LENGTH
    for title, row in rows(result):
        ours = row.get("nexus")
        print(f"\n{title}")
        for name, value in row.items():
            ratio = "" if ours is None else f"   {value / ours:6.2f} x nexus"
            compiled = row.get("nexus compiled")
            ratio += "" if compiled is None else f"   {value / compiled:6.2f} x compiled"
            print(f"  {name:16} {value:12.4g}{ratio}")
        if title.startswith("train") and ours:
            for name in ("nexus", "nexus compiled"):
                if name in row:
                    share = flops / row[name] / 1e9 / result["machine"]["gemm_gflops"]
                    print(f"  {name}: {share:.0%} of the measured GEMM limit")
        if title.startswith("decode") and ours:
            bytes_read = 4 * result["parameters"]["nexus"]
            share = bytes_read / ours / 1e9 / result["machine"]["read_gb_per_second"]
            print(f"  nexus: {share:.0%} of the measured memory limit")


def rows(result: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """All tables as (title, {model: value})."""
    found = []
    if "train_seconds" in result:
        found.append(("training step, 4 x 512 tokens, seconds", result["train_seconds"]))
    for length, row in result.get("prefill_seconds", {}).items():
        found.append((f"prefill of {length} tokens, seconds", row))
    if "decode_seconds" in result:
        found.append(("decode, seconds a token", result["decode_seconds"]))
    if "memory_over_base" in result:
        found.append((f"peak memory over base, prefill of {MEMORY_LENGTH} tokens, bytes", result["memory_over_base"]))
    return found


if __name__ == "__main__":
    main()
