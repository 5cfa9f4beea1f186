"""Does memory that learns while reading recall what the window has left behind? Trained short, read long.

    python benchmarks/mind_memory.py            3 seeds, facts 4k, 16k and 64k tokens back (about half an hour)
    python benchmarks/mind_memory.py --quick    1 seed, 1k and 4k tokens back

A text holds facts (a key, then its value) among filler, and ends in queries (a key, whose value is asked). Two models
of the same size are trained on texts of 128 tokens: both attend to the last 16 tokens only, one has a memory layer
where the other has a second layer of attention. Recall is the share of right answers (guessing: 1 in 32). Measured
besides: milliseconds a token by length, and whether 10,000 updates leave a NaN at depth 1 to 4. Writes
results/mind_memory.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from nexus.core.memory import MemoryConfig, TitansMemory
from nexus.core.state_space import HybridConfig, HybridLM

RESULTS = Path(__file__).parent / "results" / "mind_memory.json"
KEYS, VALUES, FILLERS = 32, 32, 32
WINDOW, TRAIN_LENGTH = 16, 128
PLANS = {"with memory": "AT", "without": "AA"}


def main() -> None:
    """Train both, ask both, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--steps", type=int, default=0)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    seeds = range(1) if options.quick else range(3)
    distances = (1_024, 4_096) if options.quick else (4_096, 16_384, 65_536)
    result: dict = {"quick": options.quick, "recall": {}, "parameters": {}, "seconds": {}}
    for name in PLANS:
        for seed in seeds:
            start = time.perf_counter()
            model = train(name, seed, options.steps or (1_500 if options.quick else 4_000))
            result["seconds"][f"{name}, seed {seed}"] = round(time.perf_counter() - start, 1)
            result["parameters"][name] = model.num_parameters()
            for facts, kind in ((1, "needle"), (4, "multi-query")):
                found = {d: recall(model, d, facts, seed) for d in (TRAIN_LENGTH, *distances)}
                result["recall"].setdefault(f"{kind}, {name}", []).append(found)
                print(f"{kind:12} {name:12} seed {seed}: {found}", flush=True)
        result.setdefault("ms_per_token", {})[name] = cost(model, distances)
    result["finite_after_10k_updates"] = {depth: stable(depth) for depth in (1, 2, 3, 4)}
    print(json.dumps({k: v for k, v in result.items() if k != "recall"}, indent=1))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def texts(rows: int, length: int, facts: int, generator: torch.Generator, far: bool = False) -> tuple[Tensor, Tensor]:
    """Texts (rows, length) and the places (rows, facts) of the queried keys; the value is the id after each.

    The facts lie in the first half, or with ``far`` within the first 64 tokens.
    """
    ids = KEYS + VALUES + torch.randint(FILLERS, (rows, length), generator=generator)
    room = (64 if far else length // 2) // 2
    order = torch.rand(rows, KEYS, generator=generator).argsort(1)[:, :facts]
    values = KEYS + torch.randint(VALUES, (rows, facts), generator=generator)
    places = 2 * torch.rand(rows, room, generator=generator).argsort(1)[:, :facts]
    ends = length - 2 * facts + 2 * torch.arange(facts).expand(rows, -1)
    asked = torch.rand(rows, facts, generator=generator).argsort(1)
    ids.scatter_(1, places, order).scatter_(1, places + 1, values)
    ids.scatter_(1, ends, order.gather(1, asked)).scatter_(1, ends + 1, values.gather(1, asked))
    return ids, ends


def build(name: str) -> HybridLM:
    """Two layers of width 64; the second is memory or attention, made equally large by its feed-forward width."""
    return HybridLM(HybridConfig(
        vocab_size=KEYS + VALUES + FILLERS, d_model=64, n_layers=2, plan=PLANS[name], n_heads=4, sinks=0,
        d_ff=192 if name == "with memory" else 252, attention_window=WINDOW, memory_window=WINDOW, memory_chunk=16,
        memory_heads=2, memory_depth=1,
    ))  # fmt: skip


def train(name: str, seed: int, steps: int) -> HybridLM:
    """Learn to answer the queries of texts of 128 tokens with 1 to 4 facts."""
    torch.manual_seed(seed)
    model, generator = build(name), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 100) * (1 - 0.9 * step / steps)
        facts = int(torch.randint(1, 5, (), generator=generator))
        ids, ends = texts(32, TRAIN_LENGTH, facts, generator)
        hidden = model.backbone(model.embed(ids))[0]
        asked = hidden.gather(1, ends[..., None].expand(-1, -1, hidden.shape[-1]))
        loss = F.cross_entropy(model.lm_head(asked).flatten(0, 1), ids.gather(1, ends + 1).flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 250 == 0:
            print(f"  {name}, seed {seed}, step {step}: loss {float(loss.detach()):.3f}", flush=True)
    return model.eval()


@torch.no_grad()
def recall(model: HybridLM, distance: int, facts: int, seed: int, rows: int = 32) -> float:
    """Share of queries answered right, the facts at the beginning of texts of this length."""
    ids, ends = texts(rows, distance, facts, torch.Generator().manual_seed(1_000 + seed), far=distance > TRAIN_LENGTH)
    hidden = model.backbone(model.embed(ids))[0]
    said = model.lm_head(hidden.gather(1, ends[..., None].expand(-1, -1, hidden.shape[-1]))).argmax(-1)
    return float((said == ids.gather(1, ends + 1)).float().mean())


@torch.no_grad()
def cost(model: HybridLM, lengths: tuple[int, ...]) -> dict[int, float]:
    """Milliseconds a token when one text is read."""
    found = {}
    for length in lengths:
        ids = torch.randint(KEYS, (1, length))
        start = time.perf_counter()
        model.backbone(model.embed(ids))
        found[length] = 1_000 * (time.perf_counter() - start) / length
    return found


@torch.no_grad()
def stable(depth: int) -> bool:
    """Whether everything is finite after 10,000 updates with strong inputs."""
    torch.manual_seed(depth)
    memory = TitansMemory(MemoryConfig.tiny(depth=depth))
    state = memory.init_state(1)
    good = True
    for _ in range(10):
        y, state = memory(3 * torch.randn(1, 1_000, 32), state)
        good = good and bool(y.isfinite().all())
    return good and all(bool(part.isfinite().all()) for part in state)


if __name__ == "__main__":
    main()
