"""Does the world model's loss on the backbone's own hidden states help it to foresee text? Reported either way.

    python benchmarks/mind_language.py            3 seeds, weights 0, 0.1 and 1
    python benchmarks/mind_language.py --quick    1 seed, fewer steps

A small mind reads bytes of Python's own help texts (they come with every Python; topics are held out whole). For each
seed all weights start from the same parameters and see the same batches, so that differences are those of the weight.
Measured: held-out bits a byte, the difference to weight 0, and milliseconds of CPU a step. Writes
results/mind_language.json after each run.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.kept_runs import KeptRuns, add_options, seeds
from nexus.core.nexus_core import NEXUSConfig, NEXUSCore

RESULTS = Path(__file__).parent / "results" / "mind_language.json"
WEIGHTS = (0.0, 0.1, 1.0)
ROWS, LENGTH, RATE = 8, 128, 4e-3


def main() -> None:
    """Train every weight on every seed; print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--steps", type=int, default=0)
    add_options(parser)
    options = parser.parse_args()
    steps = options.steps or (80 if options.quick else 300)
    seen, held_out = texts()
    kept = KeptRuns(RESULTS, ("weight", "seed", "steps"), options.more)
    for seed in seeds(options.seeds, 1 if options.quick else 3):
        for weight in WEIGHTS:
            kept.add(one_run(weight, seed, steps, seen, held_out))
    found = differences([run for run in kept.runs if run["steps"] == steps])
    kept.write(bytes=[len(seen), len(held_out)], difference=found)
    print(found)


def texts() -> tuple[Tensor, Tensor]:
    """Bytes to learn from and bytes held out: every eighth topic."""
    parts: tuple[list[str], list[str]] = ([], [])
    for number, name in enumerate(sorted(topics)):
        parts[number % 8 == 0].append(topics[name])
    seen, held_out = (torch.tensor(list("\n".join(part).encode())) for part in parts)
    return seen, held_out


def one_run(weight: float, seed: int, steps: int, seen: Tensor, held_out: Tensor) -> dict:
    """Train with this weight of the world model's loss, and measure on held-out text."""
    torch.manual_seed(seed)
    start, generator = time.process_time(), torch.Generator().manual_seed(seed)
    model = NEXUSCore(NEXUSConfig(
        vocab_size=256, d_model=96, ssm_n_layers=4, plan="MMMA", d_ff=192, n_heads=4, n_kv_heads=2, ssm_heads=6,
        ssm_head_dim=32, d_state=32, chunk_size=64, memory_layers=0, world_d_latent=64,
    ))  # fmt: skip
    taught = [*model.language.parameters(), *(p for p in model.world_model.parameters() if p.requires_grad)]
    optimiser = torch.optim.AdamW(taught, lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    for _ in range(steps):
        begins = torch.randint(len(seen) - LENGTH, (ROWS, 1), generator=generator)
        ids = seen[begins + torch.arange(LENGTH + 1)]
        hidden = model(ids[:, :-1])["hidden"]
        loss = F.cross_entropy(model.language.lm_head(hidden).flatten(0, 1), ids[:, 1:].flatten())
        if weight:
            loss = loss + weight * model.world_model.loss(hidden).total
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(taught, 1.0)
        optimiser.step()
        schedule.step()
        model.world_model.update_target()
    spent = time.process_time() - start
    return {
        "weight": weight, "seed": seed, "steps": steps, "bits a byte": bits(model.eval(), held_out),
        "ms a step": round(1_000 * spent / steps, 1),
    }  # fmt: skip


@torch.no_grad()
def bits(model: NEXUSCore, held_out: Tensor, rows: int = 32, length: int = 512) -> float:
    """Bits a byte on stretches of held-out text, spread over all of it."""
    begins = torch.linspace(0, len(held_out) - length - 1, rows).long()[:, None]
    ids = held_out[begins + torch.arange(length + 1)]
    losses = [F.cross_entropy(model(row[:, :-1])["logits"][0], row[0, 1:]) for row in ids.split(1)]
    return round(float(torch.stack(losses).mean()) / math.log(2), 4)


def differences(runs: list[dict]) -> dict[str, dict[str, float]]:
    """Bits a byte over those of weight 0 on the same seed: mean, and deviation over the seeds."""
    plain = {run["seed"]: run["bits a byte"] for run in runs if not run["weight"]}
    found = {}
    for weight in WEIGHTS[1:]:
        gaps = [run["bits a byte"] - plain[run["seed"]] for run in runs if run["weight"] == weight]
        spread = statistics.stdev(gaps) if len(gaps) > 1 else math.nan
        found[str(weight)] = {"mean": round(statistics.mean(gaps), 4), "deviation": round(spread, 4)}
    return found


if __name__ == "__main__":
    main()
