"""Does memory that learns while reading recall what the window has left behind? Trained short, read long.

    python benchmarks/mind_memory.py            3 seeds, facts 4k, 16k and 64k tokens back (about half an hour)
    python benchmarks/mind_memory.py --quick    1 seed, 1k and 4k tokens back

A text holds facts (a token for each pair of key and value) among filler, and ends in queries (a key, whose value is
asked). Two models of the same size are trained on texts of 24 to 2,048 tokens. Both attend to the last 8 tokens only;
one has a memory layer where the other has a second layer of attention. Recall is the share of right answers (guessing:
1 in 8); at each distance the questions go to a fork of the state. Measured besides: milliseconds a token by length, and
whether 10,000 updates leave a NaN at depth 1 to 4. Writes results/mind_memory.json after each run.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.kept_runs import KeptRuns, add_options, seeds
from nexus.core.memory import LongTermMemory, MemoryConfig, TitansMemory
from nexus.core.state_space import HybridConfig, HybridLM

RESULTS = Path(__file__).parent / "results" / "mind_memory.json"
KEYS, VALUES, FILLERS = 8, 8, 16
WINDOW, RATE, STEPS = 8, 3e-3, 450
LENGTHS = (24, 64, 2_048)  # of the texts at the beginning of training, after two thirds, and at its end
TOKENS = 2_048  # in a batch
LEARN = -1.5  # bias of the gate of learning before training
PIECE = 1_024  # tokens read at once
PLANS = {"with memory": "AT", "without": "AA"}


def main() -> None:
    """Train both, ask both, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--distances", default="")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--recall-only", action="store_true", help="neither time nor 10,000 updates")
    add_options(parser)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    distances = (1_024, 4_096) if options.quick else (4_096, 16_384, 65_536)
    distances = (64, *(tuple(int(d) for d in options.distances.split(",") if d) or distances))
    kept = KeptRuns(RESULTS, ("model", "seed", "steps"), options.more)
    for seed in seeds(options.seeds, 1 if options.quick else 3):
        for name in PLANS:
            kept.add(one_run(name, seed, options.steps, distances))
    if not options.recall_only:
        cheap = {name: cost(build(name), (1_024, 4_096, 16_384)) for name in PLANS}
        finite = {depth: stable(depth) for depth in (1, 2, 3, 4)}
        kept.write(ms_per_token=cheap, finite_after_10k_updates=finite)
        print(cheap, finite)


def one_run(name: str, seed: int, steps: int, distances: tuple[int, ...]) -> dict:
    """Train one model and ask it."""
    start = time.process_time()
    model = train(name, seed, steps)
    trained = time.process_time()
    return {
        "model": name, "seed": seed, "steps": steps, "parameters": model.num_parameters(),
        "needle": recall(model, distances, 1, seed), "multi-query": recall(model, distances, 4, seed),
        "seconds of CPU": {"training": round(trained - start, 1), "asking": round(time.process_time() - trained, 1)},
    }  # fmt: skip


def texts(
    rows: int, length: int, facts: int, generator: torch.Generator, far: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Texts (rows, length), the places (rows, facts) of the queries at their end, and the answers (rows, facts).

    The facts lie in the first half, or with ``far`` within the first 32 tokens.
    """
    ids = VALUES + KEYS + KEYS * VALUES + torch.randint(FILLERS, (rows, length), generator=generator)
    room = 32 if far else length // 2
    keys = torch.rand(rows, KEYS, generator=generator).argsort(1)[:, :facts]
    values = torch.randint(VALUES, (rows, facts), generator=generator)
    places = torch.rand(rows, room, generator=generator).argsort(1)[:, :facts]
    ends = length - facts + torch.arange(facts).expand(rows, -1)
    asked = torch.rand(rows, facts, generator=generator).argsort(1)
    ids.scatter_(1, places, VALUES + KEYS + KEYS * values + keys)
    ids.scatter_(1, ends, VALUES + keys.gather(1, asked))
    return ids, ends, values.gather(1, asked)


def build(name: str) -> HybridLM:
    """Two layers of width 64; the second is memory or attention, made equally large by its feed-forward width."""
    model = HybridLM(HybridConfig(
        vocab_size=VALUES + KEYS + KEYS * VALUES + FILLERS, d_model=64, n_layers=2, plan=PLANS[name], n_heads=4,
        sinks=0, d_ff=192 if name == "with memory" else 252, attention_window=WINDOW, memory_window=WINDOW,
        memory_chunk=16, memory_heads=2, memory_depth=1,
    ))  # fmt: skip
    for module in model.modules():
        if isinstance(module, LongTermMemory):  # learn little at first: texts are long, most of them filler
            with torch.no_grad():
                module.gates.bias.chunk(3)[2].fill_(LEARN)
    return model


def answers(model: HybridLM, ids: Tensor, ends: Tensor) -> Tensor:
    """Logits (rows, facts, VALUES) at the queries."""
    hidden = model.backbone(model.embed(ids))[0]
    return model.lm_head(hidden.gather(1, ends[..., None].expand(-1, -1, hidden.shape[-1])))[..., :VALUES]


def train(name: str, seed: int, steps: int) -> HybridLM:
    """Learn to answer queries of 1 to 4 facts; texts grow as ``LENGTHS`` says, batches keep their number of tokens."""
    torch.manual_seed(seed)
    model, generator = build(name), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 50) * (1 - 0.9 * step / steps)
        facts = int(torch.randint(1, 5, (), generator=generator))
        length = length_at(step / steps)
        ids, ends, right = texts(max(TOKENS // length, 4) if length > 64 else 32, length, facts, generator)
        loss = F.cross_entropy(answers(model, ids, ends).flatten(0, 1), right.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0:
            print(f"  {name}, seed {seed}, step {step}: loss {float(loss.detach()):.3f}", flush=True)
    return model.eval()


def length_at(done: float) -> int:
    """Length of the texts when a share of training is done: a third short, a third growing, a third growing faster."""
    first, middle, last = LENGTHS
    if done < 2 / 3:
        return first + max(0, int((middle - first) * (3 * done - 1)))
    return int(middle * (last / middle) ** (3 * done - 2))


@torch.no_grad()
def recall(model: HybridLM, distances: tuple[int, ...], facts: int, seed: int, rows: int = 32) -> dict[int, float]:
    """Share of queries answered right by distance: one text, read in pieces, whose state is forked to be asked."""
    generator = torch.Generator().manual_seed(1_000 + seed)
    ids, _, right = texts(rows, max(distances), facts, generator, far=True)
    queries, state, read, found = ids[:, -facts:], model.init_state(rows), 0, {}
    for distance in sorted(distances):
        for piece in ids[:, read : distance - facts].split(PIECE, dim=1):
            _, state = model.backbone(model.embed(piece), state)
        read = distance - facts
        hidden, _ = model.backbone(model.embed(queries), state.fork())
        said = model.lm_head(hidden)[..., :VALUES].argmax(-1)
        found[distance] = round(float((said == right).float().mean()), 4)
    return found


@torch.no_grad()
def cost(model: HybridLM, lengths: tuple[int, ...]) -> dict[int, float]:
    """Milliseconds of CPU time a token when one text is read."""
    found = {}
    for length in lengths:
        ids = torch.randint(KEYS, (1, length))
        start = time.process_time()
        model.backbone(model.embed(ids))
        found[length] = 1_000 * (time.process_time() - start) / length
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
