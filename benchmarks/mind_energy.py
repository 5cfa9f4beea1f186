"""Does energy descent think longer about what is harder, and shorter on the whole? Beside fixed depth, ACT, PonderNet.

    python benchmarks/mind_energy.py            5 seeds a task
    python benchmarks/mind_energy.py --quick    1 seed, fewer steps

Three tasks whose difficulty is how far news has to travel before an answer is known: a corridor with walls (which cells
can be reached from its left end), a maze (the same among trees of rooms), and parity of the bits since the last mark.
In all of them short ways and long ones look alike from nearby, so there is no way around waiting. All learners share
one cell, the energy's step; they differ in when they stop. Measured: accuracy (all cells of a sample right), mean
steps, rank correlation of steps and difficulty, the fixed depth that is as accurate, and accuracy at four times the
steps trained with. Writes results/mind_energy.json.
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
WIDTH = 24  # of the states
TAUGHT = 8  # of the steps, the last ones carry gradients
SETTLED = (1.0, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.03, 0.003, 0.0)  # thresholds to choose from; the last ones never stop
SURE = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99, 0.997, 1.0)


class Task(NamedTuple):
    """How to draw samples, how cells meet, the steps in training, at most, and the rate of learning."""

    make: Callable[[int, torch.Generator], Batch]
    coupling: str
    budget: int
    rate: float


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

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.budget = task.budget
        self.enter = nn.Linear(3, WIDTH)
        self.cell = EnergyModule(
            EnergyConfig(d_model=WIDTH, d_hidden=2 * WIDTH, coupling=task.coupling, max_iterations=task.budget)
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


def one_run(name: str, stop: str, seed: int, steps: int) -> dict:
    """Train one way to stop on one task, and measure it."""
    torch.manual_seed(seed)
    start, generator = time.perf_counter(), torch.Generator().manual_seed(seed)
    task = TASKS[name]
    thinker = Thinker(task)
    optimiser = torch.optim.AdamW(thinker.parameters(), lr=task.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, task.rate, steps)
    for _ in range(steps):
        batch = task.make(32, generator)
        optimiser.zero_grad()
        LOSSES[stop](thinker, batch, generator).backward()
        torch.nn.utils.clip_grad_norm_(thinker.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    test = task.make(512, torch.Generator().manual_seed(10_000 + seed))
    valid = task.make(256, torch.Generator().manual_seed(20_000 + seed))
    with torch.no_grad():
        found = MEASURES[stop](thinker, test, valid)
    return {"task": name, "stop": stop, "seed": seed, **found, "seconds": round(time.perf_counter() - start, 1)}


# ---- energy, and every fixed depth beside it ------------------------------------------------------------------------


def energy_loss(thinker: Thinker, batch: Batch, generator: torch.Generator) -> Tensor:
    """Right from a random number of steps on, and right to stay there; only the last steps carry gradients.

    So a step learns to go on from wherever the ones before have come (Bansal et al. 2022, arXiv:2202.05826), cheaply.
    """
    untaught = int(torch.randint(thinker.budget - TAUGHT + 1, (), generator=generator))
    found = thinker.steps(batch.inputs, TAUGHT, untaught)
    return torch.stack([each(answer, batch).mean() for answer, _ in found[1::2]]).mean()


def energy_measure(thinker: Thinker, test: Batch, valid: Batch) -> dict:
    """Stops at rest or when sure; the depths 1 to twice the budget of the same weights are the fixed ones.

    Of all pairs of thresholds, that with the fewest steps that costs samples other than the tested ones at most half a
    percent of accuracy.
    """
    twice = thinker.cell.max_iterations = 2 * thinker.budget
    settled, sure = cheapest(course(thinker, valid, twice))
    accuracy, info = thought(thinker, test, settled, sure)
    depths = [right(answer, test) for answer, _ in thinker.steps(test.inputs, twice)]
    equal = next((d + 1 for d, found in enumerate(depths) if found >= accuracy - 0.005), None)
    mean = float(info.per_sample.float().mean())
    return {
        "accuracy": accuracy, "mean steps": round(mean, 2), "stopped": float(info.settled.float().mean()),
        "at rest": settled, "sure": sure, "spearman": spearman(info.per_sample, test.difficulty),
        "fixed depth as accurate": equal, "fixed depth / mean steps": None if equal is None else round(equal / mean, 2),
        "accuracy at 2x": depths[-1],
        "accuracy at 4x": right(thinker.steps(test.inputs, 4 * thinker.budget)[-1][0], test),
    }  # fmt: skip


class Course(NamedTuple):
    """After each step, of each sample (K, B): the largest slope before, the least sureness, whether all is right."""

    slope: Tensor
    sure: Tensor
    good: Tensor


def course(thinker: Thinker, batch: Batch, count: int) -> Course:
    """Descend without stopping."""
    x = thinker.enter(batch.inputs)
    drive, y, found = thinker.cell.recall(x), torch.zeros_like(x), []
    for _ in range(count):
        after = thinker.cell.step(y, drive)
        slope = (after - y) / thinker.cell.step_size
        y = after
        answer = thinker.answer(x + thinker.cell.out(y))
        sure = answer.softmax(-1).amax(-1).flatten(1).amin(1)
        found.append((slope.square().mean(-1).sqrt().flatten(1).amax(1), sure, all_right(answer, batch)))
    return Course(*(torch.stack(each) for each in zip(*found, strict=True)))


def cheapest(seen: Course) -> tuple[float, float]:
    """The thresholds (rest, sure) with the fewest steps that are within half a percent of the last step's accuracy."""
    least = float(seen.good[-1].float().mean()) - 0.005
    found = [(float("inf"), SETTLED[-1], SURE[-1])]
    for settled in SETTLED:
        for sure in SURE:
            stops = (seen.slope < settled) | (seen.sure > sure)
            stops[-1] = True
            first = stops.long().argmax(0)
            if float(seen.good.gather(0, first[None]).float().mean()) >= least:
                found.append((float(first.float().mean()), settled, sure))
    return min(found)[1:]


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
    answers, halts = (torch.stack(t) for t in zip(*thinker.steps(batch.inputs, thinker.budget), strict=True))
    weights, ponder = act_weights(halts)
    mean = (answers * weights.view(*weights.shape, *[1] * (answers.dim() - 2))).sum(0)
    return each(mean, batch).mean() + 1e-3 * ponder.mean()


def act_measure(thinker: Thinker, test: Batch, _: Batch) -> dict:
    """As trained, and with four times the steps allowed."""
    found = {}
    for name, count in (("", thinker.budget), (" at 4x", 4 * thinker.budget)):
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
    answers, halts = (torch.stack(t) for t in zip(*thinker.steps(batch.inputs, thinker.budget), strict=True))
    weights = ponder_weights(halts)
    losses = torch.stack([each(answer, batch) for answer in answers])
    prior = ponder_weights(torch.full_like(halts, 0.1))
    divergence = (weights * (weights.clamp(min=1e-8).log() - prior.log())).sum(0)
    return (weights * losses).sum(0).mean() + 0.01 * divergence.mean()


def ponder_measure(thinker: Thinker, test: Batch, _: Batch) -> dict:
    """Stops where stopping has become likelier than not."""
    found = {}
    for name, count in (("", thinker.budget), (" at 4x", 4 * thinker.budget)):
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
    return round(float(all_right(answers, batch).float().mean()), 4)


def all_right(answers: Tensor, batch: Batch) -> Tensor:
    """Whether every place asked for is right, (B,)."""
    return ((answers.argmax(-1) == batch.answers) | (batch.answers < 0)).flatten(1).all(1)


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


def marked(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Marks on a line (count, length), and how far each place is from the last mark at or before it, or from the start.

    Stretches between marks are evenly long, up to a bound that is drawn for each row: nothing in a stretch tells what
    lies before it.
    """
    bound = mostly_small(count, length, generator)
    stretches = (torch.rand(count, length, generator=generator) * (bound + 1)).long()
    places = ((stretches + 1).cumsum(1) - 1).clamp(max=length)
    marks = torch.zeros(count, length + 1, dtype=torch.bool).scatter(1, places, True)[:, :length]
    index = torch.arange(length)
    return marks, index - torch.where(marks, index, -1).cummax(1).values


def corridor(count: int, generator: torch.Generator, length: int = 32) -> Batch:
    """A corridor with walls; a cell is reached if no wall is to its left. Difficulty: the longest open stretch."""
    walls, far = marked(count, length, generator)
    inputs = torch.stack([walls, ~walls, (torch.arange(length) == 0).expand_as(walls)], -1)
    return Batch(inputs.float(), (~walls).long().cumprod(1), far.amax(1))


def parity(count: int, generator: torch.Generator, length: int = 32) -> Batch:
    """Whether the number of ones since the last mark, its place included, is odd. Difficulty: the longest stretch."""
    marks, far = marked(count, length, generator)
    bits = torch.randint(2, (count, length), generator=generator)
    total = F.pad(bits.cumsum(1), (1, 0))
    since = total[:, 1:] - total.gather(1, (torch.arange(length) - far).clamp(min=0))
    fresh = marks | (torch.arange(length) == 0)
    return Batch(torch.stack([bits == 1, bits == 0, fresh], -1).float(), since % 2, far.amax(1))


def _passages(rooms: int) -> Tensor:
    """(E, 4): rooms on both sides of each wall that can be opened, and its row and column in the plane of cells."""
    found = []
    for row in range(rooms):
        for column in range(rooms - 1):
            across, down = row * rooms + column, column * rooms + row
            found += [(across, across + 1, 2 * row, 2 * column + 1), (down, down + rooms, 2 * column + 1, 2 * row)]
    return torch.tensor(found)


def _joined(count: int, rooms: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Passages opened at random (count, E), never closing a circle (Kruskal), and the tree of each room (count, R)."""
    passages = _passages(rooms)
    order = torch.rand(count, len(passages), generator=generator).argsort(1)
    tree = torch.arange(rooms**2).repeat(count, 1)
    opened = torch.zeros(count, len(passages), dtype=torch.bool)
    left = mostly_small(count, rooms**2 - 1, generator)
    for passage in order.split(1, dim=1):
        one, other = (tree.gather(1, passages[passage[:, 0], side, None]) for side in (0, 1))
        joins = (one != other) & (left > 0)
        opened.scatter_(1, passage, joins)
        tree = torch.where(joins & (tree == other), one, tree)
        left = left - joins.long()
    return opened, tree


def maze(count: int, generator: torch.Generator, rooms: int = 4) -> Batch:
    """Rooms and passages, in trees: which cells can be reached from the start? Difficulty: the longest way from it."""
    passages, side = _passages(rooms), 2 * rooms - 1
    opened, tree = _joined(count, rooms, generator)
    start = torch.randint(rooms**2, (count, 1), generator=generator)
    reached = (tree == tree.gather(1, start)).long()
    answers = torch.full((count, side, side), -1)
    answers[:, ::2, ::2] = reached.view(count, rooms, rooms)
    answers[:, passages[:, 2], passages[:, 3]] = torch.where(opened, reached[:, passages[:, 0]], -1)
    here = torch.zeros(count, side, side, dtype=torch.bool)
    here[:, ::2, ::2] = (torch.arange(rooms**2) == start).view(count, rooms, rooms)
    inputs = torch.stack([answers < 0, answers >= 0, here], -1).float()
    return Batch(inputs, answers, _farthest(here, answers >= 0))


def _farthest(sources: Tensor, free: Tensor) -> Tensor:
    """Steps (B,) until all free cells that can be reached from ``sources`` (B, rows, columns) have been."""
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])[None, None]
    reached, steps = sources, torch.zeros(len(sources), dtype=torch.long)
    for _ in range(free[0].numel()):
        grown = (F.conv2d(reached[:, None].float(), cross, padding=1)[:, 0] > 0) & free
        changed = (grown != reached).flatten(1).any(1)
        if not bool(changed.any()):
            break
        reached, steps = grown, steps + changed
    return steps


TASKS = {
    "corridor": Task(corridor, "line", 40, 8e-3), "maze": Task(maze, "grid", 24, 5e-3),
    "parity": Task(parity, "line", 40, 8e-3),
}  # fmt: skip


if __name__ == "__main__":
    main()
