"""What the auditor costs: seconds of a step without it, with it at its default interval, and of a look.

    python benchmarks/auditor_overhead.py [--steps 100]

The clock is the process's own CPU time, so that neighbours on the machine disturb less. Steps with and without the
auditor take turns. The cost at the default interval follows from both kinds of steps: 49 plain ones and a look over 50
without an auditor. Target: at most 3 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from nexus.core.state_space import HybridConfig, HybridLM
from nexus.training.audit.watch import Auditor
from nexus.training.objectives import next_token_loss

RESULTS = Path(__file__).parent / "results" / "auditor_overhead.json"
EVERY = 50


def sizes() -> dict[str, HybridConfig]:
    """Small models: the smaller a step, the more a fixed cost weighs."""
    return {
        "tiny, 2 layers": HybridConfig.tiny(plan="AM", n_layers=2),
        "width 128, 4 layers": HybridConfig.tiny(
            plan="MMMA", n_layers=4, d_model=128, d_ff=384, n_heads=4, head_dim=32, n_kv_heads=2, vocab_size=2048,
            ssm_heads=8, ssm_head_dim=32, d_state=16, chunk_size=64,
        ),
    }  # fmt: skip


def step(model: nn.Module, optimizer: torch.optim.Optimizer, ids: torch.Tensor, auditor: Auditor, number: int) -> float:
    """One step; returns its CPU seconds."""
    started = time.process_time()
    with auditor.step(number) as seen:
        loss = next_token_loss(model, ids).mean()
        loss.backward()
        seen.loss, seen.grad_norm = loss.detach(), nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - started


def measure(config: HybridConfig, steps: int, batch: int, length: int) -> dict[str, float]:
    """Medians of plain steps, steps that are watched but not looked at, and looks."""
    torch.manual_seed(0)
    model = HybridLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    ids = torch.randint(config.vocab_size, (batch, length))
    off, on = Auditor(model, optimizer, every=0), Auditor(model, optimizer, every=EVERY, causal=False)
    times: dict[str, list[float]] = {"off": [], "on": [], "look": []}
    for index in range(steps):
        times["off"].append(step(model, optimizer, ids, off, index))
        times["on"].append(step(model, optimizer, ids, on, 50 * index + 51))  # never a look
        if index % 5 == 0:
            times["look"].append(step(model, optimizer, ids, on, EVERY * (index + 1)))
    off_, on_, look = (statistics.median(times[name][3:]) for name in ("off", "on", "look"))
    cost = ((EVERY - 1) * on_ + look) / (EVERY * off_) - 1
    return {"off ms": off_ * 1e3, "on ms": on_ * 1e3, "look ms": look * 1e3, "overhead": cost}


def main() -> None:
    """Print a table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    results = {}
    for name, config in sizes().items():
        results[name] = measure(config, options.steps, 8, 64)
        figures = "  ".join(f"{key} {value:.3f}" for key, value in results[name].items())
        print(f"{name:22} {figures}   (target: overhead at most 0.03)", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
