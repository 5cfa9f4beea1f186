"""Does energy descent think longer about what is harder, and shorter on the whole? Beside fixed depth, ACT, PonderNet.

    python benchmarks/mind_energy.py            5 seeds a task
    python benchmarks/mind_energy.py --quick    1 seed, fewer steps

Three tasks whose difficulty is how far a fact has to travel: a corridor (which cells can be reached from its left end),
maze (the same in a plane), and running parity (how many bits are summed). All learners share one cell, the energy's
step; they differ in when they stop. Measured: accuracy (all cells of a sample right), mean steps, rank correlation of
steps and difficulty, the fixed depth that is as accurate, and accuracy at four times the steps trained with.
Writes results/mind_energy.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nexus.core.energy import EnergyConfig, EnergyInfo, EnergyModule

RESULTS = Path(__file__).parent / "results" / "mind_energy.json"
WIDTH, BUDGET = 24, 40  # of the states; steps in training, at most
TAUGHT = 8  # of the steps, the last ones carry gradients
SETTLED, SURE = (0.5, 0.3, 0.2, 0.1, 0.03, 0.003), (0.8, 0.9, 0.97, 0.99, 1.0)  # thresholds to choose from


class Batch(NamedTuple):
    """Inputs (B, ..., 3), answers (B, ...) of 0 and 1, -1 where nothing is asked, and difficulty (B,)."""

    inputs: Tensor
    answers: Tensor
    difficulty: Tensor


def main() -> None:
    """Every task with every way to stop; print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tasks", default="corridor,maze,parity")
    parser.add_argument("--stops", default="energy,act,ponder")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0)
    options = parser.parse_args()
    steps = options.steps or (400 if options.quick else 800)
    result: dict = {"quick": options.quick, "steps": steps, "runs": []}
    for task in options.tasks.split(","):
        for seed in range(options.seeds or (1 if options.quick else 5)):
            for stop in options.stops.split(","):
                run = one_run(task, stop, seed, steps)
                result["runs"].append(run)
                print(json.dumps(run), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


class Thinker(nn.Module):
    """A cell, an answer for each place, and a probability of stopping for each sample (which energy does not use)."""

    def __init__(self, coupling: str) -> None:
        super().__init__()
        self.enter = nn.Linear(3, WIDTH)
        self.cell = EnergyModule(
            EnergyConfig(d_model=WIDTH, d_hidden=2 * WIDTH, coupling=coupling, max_iterations=BUDGET)
        )
        self.answer = nn.Linear(WIDTH, 2)
        self.halt = nn.Linear(WIDTH, 1)
        nn.init.constant_(self.halt.bias, -3.0)  # a bias of 0 makes most runs halt at once (arXiv:2604.21999)

    def steps(self, inputs: Tensor, count: int, untaught: int = 0) -> list[tuple[Tensor, Tensor]]:
        """Answers (B, ..., 2) and stopping probability (B,) after each of ``count`` steps, ``untaught`` before them."""
        x = self.enter(inputs)
        drive, y, found = self.cell.recall(x), torch.zeros_like(x), []
        with torch.no_grad():
            for _ in range(untaught):
                y = self.cell.step(y, drive)
        for _ in range(count):
            y = self.cell.step(y, drive)
            refined = x + self.cell.out(y)
            found.append((self.answer(refined), self.halt(y.flatten(1, -2).mean(1)).sigmoid()[:, 0]))
        return found


def one_run(task: str, stop: str, seed: int, steps: int) -> dict:
    """Train one way to stop on one task, and measure it."""
    torch.manual_seed(seed)
    start, generator = time.perf_counter(), torch.Generator().manual_seed(seed)
    make, coupling = TASKS[task]
    thinker = Thinker(coupling)
    optimiser = torch.optim.AdamW(thinker.parameters(), lr=8e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-3, steps)
    for _ in range(steps):
        batch = make(32, generator)
        optimiser.zero_grad()
        LOSSES[stop](thinker, batch, generator).backward()
        torch.nn.utils.clip_grad_norm_(thinker.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    test = make(512, torch.Generator().manual_seed(10_000 + seed))
    valid = make(256, torch.Generator().manual_seed(20_000 + seed))
    with torch.no_grad():
        found = MEASURES[stop](thinker, test, valid)
    return {"task": task, "stop": stop, "seed": seed, **found, "seconds": round(time.perf_counter() - start, 1)}


# ---- energy, and every fixed depth beside it ------------------------------------------------------------------------


def energy_loss(thinker: Thinker, batch: Batch, generator: torch.Generator) -> Tensor:
    """Right after a random number of steps, and right to stay there; only the last steps carry gradients.

    So a step learns to go on from wherever the ones before have come (Bansal et al. 2022, arXiv:2202.05826), cheaply.
    """
    untaught = int(torch.randint(BUDGET - TAUGHT + 1, (), generator=generator))
    found = thinker.steps(batch.inputs, TAUGHT, untaught)
    return (each(found[-1][0], batch).mean() + each(found[-4][0], batch).mean()) / 2


def energy_measure(thinker: Thinker, test: Batch, valid: Batch) -> dict:
    """Stops at rest or when sure; the depths 1 to 2 BUDGET of the same weights are the fixed ones.

    Of all pairs of thresholds, that with the fewest steps that costs samples other than the tested ones at most half a
    percent of accuracy.
    """
    thinker.cell.max_iterations = 2 * BUDGET
    best = right(thinker.steps(valid.inputs, 2 * BUDGET)[-1][0], valid)
    tried = [(settled, sure, *thought(thinker, valid, settled, sure)) for settled in SETTLED for sure in SURE]
    good = [(info.per_sample.float().mean(), a, b) for a, b, accuracy, info in tried if accuracy >= best - 0.005]
    _, settled, sure = min(good, default=(0, SETTLED[-1], SURE[-1]))
    accuracy, info = thought(thinker, test, settled, sure)
    depths = [right(answer, test) for answer, _ in thinker.steps(test.inputs, 2 * BUDGET)]
    equal = next((d + 1 for d, found in enumerate(depths) if found >= accuracy - 0.005), None)
    mean = float(info.per_sample.float().mean())
    return {
        "accuracy": accuracy, "mean steps": round(mean, 2), "stopped": float(info.settled.float().mean()),
        "at rest": settled, "sure": sure, "spearman": spearman(info.per_sample, test.difficulty),
        "fixed depth as accurate": equal, "fixed depth / mean steps": None if equal is None else round(equal / mean, 2),
        "accuracy at 2x": depths[-1], "accuracy at 4x": right(thinker.steps(test.inputs, 4 * BUDGET)[-1][0], test),
    }  # fmt: skip


def thought(thinker: Thinker, batch: Batch, settled: float, sure: float) -> tuple[float, EnergyInfo]:
    """Accuracy, and how the descent went, with these two thresholds."""
    thinker.cell.convergence_threshold, thinker.cell.confidence_threshold = settled, sure
    refined, info = thinker.cell(thinker.enter(batch.inputs), lambda y: thinker.answer(y).softmax(-1).amax(-1))
    return right(thinker.answer(refined), batch), info


# ---- ACT (Graves 2016, arXiv:1603.08983) and PonderNet (Banino et al. 2021, arXiv:2107.05407) -----------------------


def act_weights(halts: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (K, B) of the steps' answers and the ponder cost (B,), from halting probabilities (K, B)."""
    before = F.pad(halts.cumsum(0)[:-1], (0, 0, 1, 0))
    last = torch.arange(len(halts))[:, None] == len(halts) - 1
    stops = (halts.cumsum(0) >= 0.99) | last
    first = stops & (stops.long().cumsum(0) == 1)
    running = ~(stops.long().cumsum(0) >= 1)
    rest = (1 - before) * first
    return halts * running + rest, running.sum(0) + 1 + rest.sum(0)


def act_loss(thinker: Thinker, batch: Batch, _: torch.Generator) -> Tensor:
    """The mean answer under ACT's weights, and 0.001 for each step."""
    answers, halts = (torch.stack(t) for t in zip(*thinker.steps(batch.inputs, BUDGET), strict=True))
    weights, ponder = act_weights(halts)
    mean = (answers * weights.view(*weights.shape, *[1] * (answers.dim() - 2))).sum(0)
    return each(mean, batch).mean() + 1e-3 * ponder.mean()


def act_measure(thinker: Thinker, test: Batch, _: Batch) -> dict:
    """As trained, and with four times the steps allowed."""
    found = {}
    for name, count in (("", BUDGET), (" at 4x", 4 * BUDGET)):
        answers, halts = (torch.stack(t) for t in zip(*thinker.steps(test.inputs, count), strict=True))
        weights, ponder = act_weights(halts)
        mean = (answers * weights.view(*weights.shape, *[1] * (answers.dim() - 2))).sum(0)
        found["accuracy" + name] = right(mean, test)
        found.setdefault("mean steps", round(float(ponder.floor().mean()), 2))
        found.setdefault("spearman", spearman(ponder.floor(), test.difficulty))
    return found


def ponder_weights(halts: Tensor) -> Tensor:
    """Probability (K, B) of stopping at each step; what is left over stops at the last."""
    going = F.pad((1 - halts).cumprod(0)[:-1], (0, 0, 1, 0), value=1.0)
    weights = halts * going
    return torch.cat((weights[:-1], going[-1:]), dim=0)


def ponder_loss(thinker: Thinker, batch: Batch, _: torch.Generator) -> Tensor:
    """Expected loss, and the divergence from a geometric prior of mean 10."""
    answers, halts = (torch.stack(t) for t in zip(*thinker.steps(batch.inputs, BUDGET), strict=True))
    weights = ponder_weights(halts)
    losses = torch.stack([each(answer, batch) for answer in answers])
    prior = ponder_weights(torch.full_like(halts, 0.1))
    divergence = (weights * (weights.clamp(min=1e-8).log() - prior.log())).sum(0)
    return (weights * losses).sum(0).mean() + 0.01 * divergence.mean()


def ponder_measure(thinker: Thinker, test: Batch, _: Batch) -> dict:
    """Stops where stopping has become likelier than not."""
    found = {}
    for name, count in (("", BUDGET), (" at 4x", 4 * BUDGET)):
        answers, halts = (torch.stack(t) for t in zip(*thinker.steps(test.inputs, count), strict=True))
        taken = (ponder_weights(halts).cumsum(0) > 0.5).long().argmax(0)
        picked = answers[taken, torch.arange(len(taken))]
        found["accuracy" + name] = right(picked, test)
        found.setdefault("mean steps", round(float(taken.float().mean()) + 1, 2))
        found.setdefault("spearman", spearman(taken, test.difficulty))
    return found


LOSSES: dict[str, Callable] = {"energy": energy_loss, "act": act_loss, "ponder": ponder_loss}
MEASURES: dict[str, Callable] = {"energy": energy_measure, "act": act_measure, "ponder": ponder_measure}


def each(answers: Tensor, batch: Batch) -> Tensor:
    """Cross entropy (B,) of each sample, over the places asked for."""
    losses = F.cross_entropy(answers.flatten(0, -2), batch.answers.flatten(), ignore_index=-1, reduction="none")
    asked = (batch.answers >= 0).flatten(1)
    return losses.view(len(asked), -1).sum(1) / asked.sum(1)


def right(answers: Tensor, batch: Batch) -> float:
    """Share of samples in which every place asked for is right."""
    good = (answers.argmax(-1) == batch.answers) | (batch.answers < 0)
    return round(float(good.flatten(1).all(1).float().mean()), 4)


def spearman(one: Tensor, other: Tensor) -> float:
    """Rank correlation; ties share their mean rank. 0 where one does not vary."""

    def ranks(values: Tensor) -> Tensor:
        _, places, counts = values.double().unique(return_inverse=True, return_counts=True)
        return (counts.cumsum(0) - (counts - 1) / 2.0)[places].double()

    pair = torch.stack([ranks(one), ranks(other)])
    found = torch.corrcoef(pair)[0, 1]
    return round(float(found.nan_to_num()), 3)


# ---- tasks ----------------------------------------------------------------------------------------------------------


def mostly_small(count: int, most: int, generator: torch.Generator) -> Tensor:
    """Whole numbers (count, 1) from 1 to ``most``: each 15 % rarer than the one before."""
    odds = 0.85 ** torch.arange(most)
    return 1 + torch.multinomial(odds, count, replacement=True, generator=generator)[:, None]


def corridor(count: int, generator: torch.Generator, length: int = 32) -> Batch:
    """A corridor with walls; a cell is reached if no wall is to its left. Difficulty: cells reached."""
    first = mostly_small(count, length, generator)
    walls = (torch.rand(count, length, generator=generator) < 0.5) & (torch.arange(length) > first)
    walls |= torch.arange(length) == first
    reached = (~walls).long().cumprod(1)
    start = (torch.arange(length) == 0).expand_as(walls)
    inputs = torch.stack([walls, ~walls, start], -1).float()
    return Batch(inputs, reached, reached.sum(1))


def maze(count: int, generator: torch.Generator, side: int = 6) -> Batch:
    """A plane with walls; which cells can be reached from a corner. Difficulty: length of the longest shortest path."""
    density = 0.2 + 0.3 * torch.rand(count, 1, 1, generator=generator)
    walls = torch.rand(count, side, side, generator=generator) < density
    walls[:, 0, 0] = False
    reached = torch.zeros(count, side, side)
    reached[:, 0, 0] = 1
    start, difficulty = reached.bool(), torch.zeros(count, dtype=torch.long)
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])[None, None]
    for _ in range(side * side):
        grown = ((F.conv2d(reached[:, None], cross, padding=1)[:, 0] > 0) & ~walls).float()
        difficulty += (grown != reached).flatten(1).any(1)
        reached = grown
    inputs = torch.stack([walls, ~walls, start], -1).float()
    return Batch(inputs, torch.where(walls, -1, reached.long()), difficulty)


def parity(count: int, generator: torch.Generator, length: int = 16) -> Batch:
    """Whether the number of ones so far is odd, for each bit; rows have 1 to ``length`` bits. Difficulty: bits."""
    bits = torch.randint(2, (count, length), generator=generator)
    size = mostly_small(count, length, generator)
    there = torch.arange(length) < size
    inputs = torch.stack([(bits == 1) & there, (bits == 0) & there, (torch.arange(length) == 0).expand_as(there)], -1)
    return Batch(inputs.float(), torch.where(there, bits.cumsum(1) % 2, -1), size[:, 0])


TASKS: dict[str, tuple[Callable[..., Batch], str]] = {
    "corridor": (corridor, "line"), "maze": (maze, "grid"), "parity": (parity, "line"),
}  # fmt: skip


if __name__ == "__main__":
    main()
