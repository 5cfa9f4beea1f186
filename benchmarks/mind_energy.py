"""Does energy descent think longer about what is harder, and shorter on the whole? Beside fixed depth, ACT, PonderNet.

    python benchmarks/mind_energy.py            5 seeds a task (hours; energy alone 45 s of CPU a seed)
    python benchmarks/mind_energy.py --quick    1 seed
    python benchmarks/mind_energy.py --tasks parity --stops energy --seeds 3,4 --more

On the tasks of benchmarks/graded_tasks.py. All learners share one cell, the energy's step, draw from the same samples
for as many steps of training, and differ in when they stop. Measured: accuracy (all cells of a sample right), mean
steps, rank correlation of steps and difficulty, the fixed depth that is as accurate, and accuracy with four times the
steps allowed: with the rule that stops ("at 4x") and without ("no stop"). Fixed depth is measured three times: of the
same weights, of weights trained for it, and as a bound: the depth below which news cannot have come far enough in as
many samples. Writes results/mind_energy.json after each run.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.graded_tasks import TASKS, Batch, Task
from benchmarks.kept_runs import KeptRuns, add_options, seeds
from nexus.core.energy import EnergyConfig, EnergyInfo, EnergyModule

RESULTS = Path(__file__).parent / "results" / "mind_energy.json"
WIDTH = 24  # of the states
SPEED = 2  # cells that news can go in a step: a step couples neighbours twice, by W and by its transpose
DEPTH = 16  # of the network of fixed depth: news comes from everywhere (at most 32 cells away)
TAUGHT = 8  # steps in a row that carry gradients
BATCH = 32
RENEWED = (0.4, 0.1)  # probability that a sample gives way to a new one: of the half that soon does, and of the other
SETTLED = (1.0, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.03, 0.003, 0.0)  # thresholds to choose from; the last ones never stop
SURE = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99, 0.997, 1.0)


def main() -> None:
    """Every task with every way to stop; print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tasks", default="corridor,carry,parity,maze")
    parser.add_argument("--stops", default="energy,fixed,act,ponder")
    parser.add_argument("--steps", type=int, default=0, help="of training; each task has its own number")
    add_options(parser)
    options = parser.parse_args()
    kept = KeptRuns(RESULTS, ("task", "stop", "seed", "steps"), options.more)
    for task in options.tasks.split(","):
        for seed in seeds(options.seeds, 1 if options.quick else 5):
            for stop in options.stops.split(","):
                kept.add(one_run(task, stop, seed, options.steps or TASKS[task].steps))
    print(*table(kept.runs), sep="\n")


def table(runs: list[dict]) -> list[str]:
    """Rows of a table: mean over the seeds, and the worst of them."""
    rows = [
        "| task | stops by | seeds | accuracy | steps | correlation | fixed / steps: least, same rule, bound | at 4x "
        "| no stop |",
        "|---" * 9 + "|",
    ]
    for task, stop, steps in dict.fromkeys((run["task"], run["stop"], run["steps"]) for run in runs):
        those = [run for run in runs if (run["task"], run["stop"], run["steps"]) == (task, stop, steps)]

        def mean(name: str, those: list[dict] = those) -> str:
            found = [run.get(name) for run in those]
            known = [value for value in found if value is not None]
            return f"{statistics.mean(known):.3f} ({min(known):.3f})" if len(known) == len(found) else "-"

        ratios = ", ".join(
            map(mean, ("fixed depth / mean steps", "by the same rule / mean steps", "bound / mean steps"))
        )
        rows.append(f"| {task}, {steps} | {stop} | {len(those)} | {mean('accuracy')} | {mean('mean steps')} | "
                    f"{mean('spearman')} | {ratios} | {mean('accuracy at 4x')} | "
                    f"{mean('never stopped, 4x')} |")  # fmt: skip
    return rows


class After(NamedTuple):
    """After a step: answers (B, ..., 2), probability of stopping (B,), states (B, ..., WIDTH)."""

    answer: Tensor
    halt: Tensor
    state: Tensor


class Thinker(nn.Module):
    """A cell, an answer for each place, and a probability of stopping for each sample (which energy does not use)."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.budget = task.budget
        self.enter = nn.Linear(task.width, WIDTH)
        self.cell = EnergyModule(
            EnergyConfig(d_model=WIDTH, d_hidden=2 * WIDTH, coupling=task.coupling, max_iterations=task.budget)
        )
        self.answer = nn.Linear(WIDTH, 2)
        self.halt = nn.Linear(2 * WIDTH, 1)  # of the mean over all places and of the largest of them
        nn.init.constant_(self.halt.bias, -3.0)  # a bias of 0 makes most runs halt at once (arXiv:2604.21999)

    def steps(self, inputs: Tensor, count: int, start: Tensor | None = None) -> list[After]:
        """Take ``count`` steps from ``start`` (B, ..., WIDTH), from zeros if None."""
        x = self.enter(inputs)
        drive, y, found = self.cell.recall(x), torch.zeros_like(x) if start is None else start, []
        for _ in range(count):
            y = self.cell.step(y, drive)
            refined = x + self.cell.out(y)
            places = y.flatten(1, -2)
            halt = self.halt(torch.cat((places.mean(1), places.amax(1)), -1)).sigmoid()[:, 0]
            found.append(After(self.answer(refined), halt, y))
        return found


class Samples:
    """What is learnt from: new samples each time, or samples that are still being thought about."""

    def __init__(self, task: Task, generator: torch.Generator) -> None:
        self.task, self.generator = task, generator
        self.batch = self.fresh(BATCH)
        self.states = torch.zeros(*self.batch.inputs.shape[:-1], WIDTH)
        self.renewed = torch.tensor(RENEWED).repeat_interleave(BATCH // len(RENEWED))

    def fresh(self, count: int = BATCH) -> Batch:
        """New samples."""
        return self.task.make(count, self.generator, self.task.even)

    def renew(self) -> None:
        """Let a few of the samples that are thought about give way to new ones, whose states are 0."""
        new = torch.rand(BATCH, generator=self.generator) < self.renewed
        for old, fresh in zip(self.batch, self.fresh(int(new.sum())), strict=True):
            old[new] = fresh
        self.states[new] = 0


def one_run(name: str, stop: str, seed: int, steps: int) -> dict:
    """Train one way to stop on one task, and measure it."""
    torch.manual_seed(seed)
    start, generator = time.process_time(), torch.Generator().manual_seed(seed)
    task = TASKS[name]
    thinker = Thinker(task)
    optimiser = torch.optim.AdamW(thinker.parameters(), lr=task.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, task.rate, steps)
    samples = Samples(task, generator)
    for _ in range(steps):
        optimiser.zero_grad()
        LOSSES[stop](thinker, samples).backward()
        torch.nn.utils.clip_grad_norm_(thinker.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    test = task.make(512, torch.Generator().manual_seed(10_000 + seed))
    valid = task.make(1_024, torch.Generator().manual_seed(20_000 + seed))
    with torch.no_grad():
        found = MEASURES[stop](thinker, test, valid)
    named = {"task": name, "stop": stop, "seed": seed, "steps": steps}
    return {**named, **found, "seconds of CPU": round(time.process_time() - start, 1)}


# ---- energy, and every fixed depth beside it ------------------------------------------------------------------------


def energy_loss(thinker: Thinker, samples: Samples) -> Tensor:
    """Right as soon as can be, and right to stay there: go on with the same samples, ``TAUGHT`` steps at a time.

    Each time some of them give way to new ones, so a step learns to go on from wherever the ones before have come, a
    few of them up to many times the budget ago; gradients go through the last steps alone.
    """
    samples.renew()
    found = thinker.steps(samples.batch.inputs, TAUGHT, samples.states)
    samples.states = found[-1].state.detach()
    return torch.stack([each(after.answer, samples.batch).mean() for after in found[1::2]]).mean()


def energy_measure(thinker: Thinker, test: Batch, valid: Batch) -> dict:
    """Stops at rest or when sure; the depths 1 to twice the budget of the same weights are the fixed ones.

    Of all pairs of thresholds, that with the fewest steps that costs 1,024 other samples at most a fifth of a percent
    of accuracy. Four times the budget is measured with these thresholds, and with no stopping at all. The fixed depth
    is told twice: the least that is as accurate (to half a percent) on the tested samples, as nobody could choose it,
    and the one that the same rule chooses by the same other samples.
    """
    settled, sure = cheapest(course(thinker, valid, thinker.budget))
    later, _ = thought(thinker, test, settled, sure, 4 * thinker.budget)
    accuracy, info = thought(thinker, test, settled, sure, thinker.budget)
    depths = [right(after.answer, test) for after in thinker.steps(test.inputs, 4 * thinker.budget)]
    equal = next((d + 1 for d, found in enumerate(depths) if found >= accuracy - 0.005), None)
    chosen = shallowest([right(after.answer, valid) for after in thinker.steps(valid.inputs, 4 * thinker.budget)])
    mean, least = float(info.per_sample.float().mean()), bound(test, accuracy - 0.005)
    return {
        "accuracy": accuracy, "mean steps": round(mean, 2), "stopped": float(info.settled.float().mean()),
        "at rest": settled, "sure": sure, "spearman": spearman(info.per_sample, test.difficulty),
        "fixed depth as accurate": equal, "fixed depth / mean steps": None if equal is None else round(equal / mean, 2),
        "fixed depth by the same rule": chosen, "its accuracy": depths[chosen - 1],
        "by the same rule / mean steps": round(chosen / mean, 2),
        "bound": least, "bound / mean steps": round(least / mean, 2), "accuracy at 4x": later,
        "best fixed depth": max(depths), "never stopped, budget": depths[thinker.budget - 1],
        "never stopped, 4x": depths[-1],
    }  # fmt: skip


def bound(batch: Batch, accuracy: float) -> int:
    """The fixed depth below which news cannot have come far enough in this share of the samples."""
    hardest = max(math.ceil(accuracy * len(batch.difficulty)), 1)  # of those that have to be right
    return max(math.ceil(int(batch.difficulty.sort().values[hardest - 1]) / SPEED), 1)


def fixed_loss(thinker: Thinker, samples: Samples) -> Tensor:
    """Right after ``DEPTH`` steps."""
    batch = samples.fresh()
    return each(thinker.steps(batch.inputs, DEPTH)[-1].answer, batch).mean()


def fixed_measure(thinker: Thinker, test: Batch, _: Batch) -> dict:
    """At the depth trained for, at four times as many steps, and the fewest that are as accurate."""
    depths = [right(after.answer, test) for after in thinker.steps(test.inputs, 4 * DEPTH)]
    accuracy = depths[DEPTH - 1]
    fewest = next(d + 1 for d, found in enumerate(depths) if found >= accuracy - 0.005)
    return {"accuracy": accuracy, "mean steps": DEPTH, "fixed depth as accurate": fewest, "accuracy at 4x": depths[-1]}


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
    """The thresholds (rest, sure) with the fewest steps that are within a fifth of a percent of the most accurate."""
    found = []
    for settled in SETTLED:
        for sure in SURE:
            stops = (seen.slope < settled) | (seen.sure > sure)
            stops[-1] = True
            first = stops.long().argmax(0)
            good = float(seen.good.gather(0, first[None]).float().mean())
            found.append((good, float(first.float().mean()), settled, sure))
    least = max(found)[0] - 0.002
    return min(each[1:] for each in found if each[0] >= least)[1:]


def shallowest(good: list[float]) -> int:
    """The least depth that is within a fifth of a percent of the most accurate one."""
    return next(d + 1 for d, found in enumerate(good) if found >= max(good) - 0.002)


def thought(thinker: Thinker, batch: Batch, settled: float, sure: float, most: int) -> tuple[float, EnergyInfo]:
    """Accuracy, and how the descent went, with these two thresholds and at most so many steps."""
    cell = thinker.cell
    cell.convergence_threshold, cell.confidence_threshold, cell.max_iterations = settled, sure, most
    refined, info = cell(thinker.enter(batch.inputs), lambda y: thinker.answer(y).softmax(-1).amax(-1))
    return right(thinker.answer(refined), batch), info


# ---- ACT (Graves 2016, arXiv:1603.08983) and PonderNet (Banino et al. 2021, arXiv:2107.05407) -----------------------


def act_weights(halts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """From halts (K, B): weights (K, B) of the steps' answers, steps taken N (B,), ponder cost N + R (B,)."""
    before = F.pad(halts.cumsum(0)[:-1], (0, 0, 1, 0))
    stops = halts.cumsum(0) >= 0.99
    stops[-1] = True
    stopped = stops.long().cumsum(0)
    taken = (stopped == 0).sum(0) + 1
    last = torch.arange(len(halts))[:, None] == taken - 1
    rest = (1 - before) * last  # R at the last step
    return halts * (stopped == 0) + rest, taken, taken + rest.sum(0)


def stacked(thinker: Thinker, batch: Batch, count: int) -> tuple[Tensor, Tensor]:
    """Answers (K, B, ..., 2) and probabilities of stopping (K, B)."""
    found = thinker.steps(batch.inputs, count)
    return torch.stack([after.answer for after in found]), torch.stack([after.halt for after in found])


def act_loss(thinker: Thinker, samples: Samples) -> Tensor:
    """The mean answer under ACT's weights, and 0.001 for each step."""
    batch = samples.fresh()
    answers, halts = stacked(thinker, batch, thinker.budget)
    weights, _taken, ponder = act_weights(halts)
    return each(weighed(answers, weights), batch).mean() + 1e-3 * ponder.mean()


def weighed(answers: Tensor, weights: Tensor) -> Tensor:
    """Sum (B, ..., 2) of answers (K, B, ..., 2) by weights (K, B)."""
    return (answers * weights.view(*weights.shape, *[1] * (answers.dim() - 2))).sum(0)


def act_measure(thinker: Thinker, test: Batch, _: Batch) -> dict:
    """As trained, and with four times the steps allowed."""
    found = {}
    for name, count in (("", thinker.budget), (" at 4x", 4 * thinker.budget)):
        answers, halts = stacked(thinker, test, count)
        weights, taken, _ponder = act_weights(halts)
        found["accuracy" + name] = right(weighed(answers, weights), test)
        if not name:
            found |= stopping(taken, test, found["accuracy"])
    return found


def stopping(taken: Tensor, test: Batch, accuracy: float) -> dict:
    """What is told of the steps (B,) that a learned rule has taken."""
    mean, least = float(taken.double().mean()), bound(test, accuracy - 0.005)
    return {
        "mean steps": round(mean, 2), "spearman": spearman(taken, test.difficulty),
        "bound": least, "bound / mean steps": round(least / mean, 2),
    }  # fmt: skip


def ponder_weights(halts: Tensor) -> Tensor:
    """Probability (K, B) of stopping at each step; what is left over stops at the last."""
    going = F.pad((1 - halts).cumprod(0)[:-1], (0, 0, 1, 0), value=1.0)
    weights = halts * going
    return torch.cat((weights[:-1], going[-1:]), dim=0)


def ponder_loss(thinker: Thinker, samples: Samples) -> Tensor:
    """Expected loss, and the divergence from a geometric prior of mean 10."""
    batch = samples.fresh()
    answers, halts = stacked(thinker, batch, thinker.budget)
    weights = ponder_weights(halts)
    losses = torch.stack([each(answer, batch) for answer in answers])
    prior = ponder_weights(torch.full_like(halts, 0.1))
    divergence = (weights * (weights.clamp(min=1e-8).log() - prior.log())).sum(0)
    return (weights * losses).sum(0).mean() + 0.01 * divergence.mean()


def ponder_measure(thinker: Thinker, test: Batch, _: Batch) -> dict:
    """Stops where stopping has become likelier than not."""
    found = {}
    for name, count in (("", thinker.budget), (" at 4x", 4 * thinker.budget)):
        answers, halts = stacked(thinker, test, count)
        taken = (ponder_weights(halts).cumsum(0) > 0.5).long().argmax(0)
        picked = answers[taken, torch.arange(len(taken))]
        found["accuracy" + name] = right(picked, test)
        if not name:
            found |= stopping(taken + 1, test, found["accuracy"])
    return found


LOSSES: dict[str, Callable] = {
    "energy": energy_loss, "fixed": fixed_loss, "act": act_loss, "ponder": ponder_loss,
}  # fmt: skip
MEASURES: dict[str, Callable] = {
    "energy": energy_measure, "fixed": fixed_measure, "act": act_measure, "ponder": ponder_measure,
}  # fmt: skip


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


if __name__ == "__main__":
    main()
