"""Does the world model see what moves, foresee it, notice what cannot be, and plan?

    python benchmarks/mind_world.py            10 seeds a world and regulariser (about an hour)
    python benchmarks/mind_world.py --long     20 seeds
    python benchmarks/mind_world.py --quick    1 seed, fewer steps
    python benchmarks/mind_world.py --worlds ball --seeds 3,4 --more

Worlds of 16 x 16 pixels: a bouncing ball, a pendulum (two frames an observation), and a room that an agent walks
through (one frame; four actions, a wall with a door). Measured: collapse; R2 of a linear probe for position and
velocity; error of the roll-out over that of "nothing moves" up to 32 steps; AUROC of surprise for a jump; share of
rooms solved by planning. Writes results/mind_world.json after each run.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.kept_runs import KeptRuns, add_options, seeds
from nexus.core.collapse import collapse_report
from nexus.core.latent_map import LatentMap
from nexus.core.world_model import WorldModel, WorldModelConfig

RESULTS = Path(__file__).parent / "results" / "mind_world.json"
SIDE, LENGTH, HORIZONS = 16, 48, (1, 2, 4, 8, 16, 32)
MOVES = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]])
DOOR, WALL = 4, 8  # the wall stands in column 8 of the room, the door is its row 4


class Films(NamedTuple):
    """Films (N, T, pixels), where things are (N, T, 2), how they move (N, T, 2) or None, actions (N, T, 4) or None."""

    frames: Tensor
    place: Tensor
    speed: Tensor | None
    actions: Tensor | None


def main() -> None:
    """Every world with every seed; print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--regularisers", default="sigreg,variance_covariance,none")
    parser.add_argument("--worlds", default="ball,pendulum,room")
    parser.add_argument("--steps", type=int, default=0)
    add_options(parser)
    options = parser.parse_args()
    steps = options.steps or (600 if options.quick else 1_000)
    kept = KeptRuns(RESULTS, ("world", "regulariser", "seed", "steps"), options.more)
    for name in options.worlds.split(","):
        for regulariser in options.regularisers.split(","):
            for seed in seeds(options.seeds, 1 if options.quick else 20 if options.long else 10):
                kept.add(one_run(name, regulariser, seed, steps))


def one_run(name: str, regulariser: str, seed: int, steps: int) -> dict:
    """Train a world model and look at all that is claimed."""
    torch.manual_seed(seed)
    start, make = time.process_time(), WORLDS[name]
    films = make(1_000, torch.Generator().manual_seed(seed))
    test = make(200, torch.Generator().manual_seed(10_000 + seed))
    world = train(films, regulariser, steps)
    with torch.no_grad():
        seen, known = world.encoder(films.frames[:400])[0], world.encoder(test.frames)[0]
        report = collapse_report(known)
        run = {
            "world": name, "regulariser": regulariser, "seed": seed, "steps": steps, "collapsed": report.collapsed,
            "rank": round(report.effective_rank, 2), "deviation": round(report.deviation, 3),
            "R2 position": probe(seen, films.place[:400], known, test.place),
            "R2 velocity": None if test.speed is None else probe(seen, films.speed[:400], known, test.speed),
            "error / nothing moves": foresight(world, test),
            "AUROC of a jump": surprise(world, test),
        }  # fmt: skip
        if name == "room":
            run["rooms solved"] = plan(world, films, seed, learn=False)
            run["rooms solved, map corrected"] = plan(world, films, seed, learn=True)
    return {**run, "seconds of CPU": round(time.process_time() - start, 1)}


class Eye(nn.Module):
    """Pixels (..., D) to latents: a linear map, and an MLP beside it for what is not linear."""

    def __init__(self, width_in: int, width_out: int, hidden: int = 128) -> None:
        super().__init__()
        self.straight = nn.Linear(width_in, width_out)
        self.bent = nn.Sequential(nn.Linear(width_in, hidden), nn.SiLU(), nn.Linear(hidden, width_out))

    def forward(self, x: Tensor) -> Tensor:
        return self.straight(x) + self.bent(x)


def train(films: Films, regulariser: str, steps: int) -> WorldModel:
    """One recipe for all worlds."""
    weight = {"sigreg": 0.05, "variance_covariance": 1.0, "none": 0.0}[regulariser]
    world = WorldModel(WorldModelConfig(
        d_input=films.frames.shape[-1], d_latent=96, d_hidden=128, d_action=0 if films.actions is None else 4,
        n_levels=2, prediction_horizon=4, ema=0.98, regulariser=regulariser, regulariser_weight=weight,
    ), observe=Eye(films.frames.shape[-1], 96))  # fmt: skip
    optimiser = torch.optim.AdamW([p for p in world.parameters() if p.requires_grad], lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps)
    for _ in range(steps):
        rows = torch.randint(len(films.frames), (32,))
        begin = int(torch.randint(LENGTH - 16, ()))
        part = slice(begin, begin + 16)
        actions = None if films.actions is None else films.actions[rows, part]
        optimiser.zero_grad()
        world.loss(films.frames[rows, part], actions).total.backward()
        optimiser.step()
        schedule.step()
        world.update_target()
    return world.eval()


def probe(x: Tensor, y: Tensor, x_new: Tensor, y_new: Tensor) -> float:
    """R2 on new films of a linear map from latents to a quantity, fitted on old ones."""
    ones = torch.ones(1)
    design, asked = (torch.cat([t.flatten(0, 1), ones.expand(t[..., 0].numel(), 1)], -1) for t in (x, x_new))
    weights = torch.linalg.lstsq(design.double(), y.flatten(0, 1).double()).solution
    goal = y_new.flatten(0, 1).double()
    return round(1 - float((asked.double() @ weights - goal).square().sum() / (goal - goal.mean(0)).square().sum()), 4)


def foresight(world: WorldModel, test: Films) -> dict[int, float]:
    """Squared error of roll-outs over that of a world in which nothing moves, by horizon."""
    latents, goals = world.encoder(test.frames)[0], world.target(test.frames)[0]
    start = 8
    actions = None if test.actions is None else test.actions[:, start : start + HORIZONS[-1]]
    rolled = world.imagine(latents[:, start], actions, HORIZONS[-1])
    found = {}
    for k in HORIZONS:
        goal = goals[:, start + k]
        found[k] = round(float((rolled[:, k - 1] - goal).square().mean() / (goals[:, start] - goal).square().mean()), 4)
    return found


def surprise(world: WorldModel, test: Films) -> float:
    """AUROC with which surprise tells films that jump to another film's middle from films that go on."""
    middle = LENGTH // 2
    jumped = torch.cat((test.frames[:, :middle], test.frames.roll(1, 0)[:, middle:]), dim=1)
    calm, alarmed = (world(frames, test.actions)["surprise"][:, middle] for frames in (test.frames, jumped))
    return round(float((alarmed[:, None] > calm[None]).float().mean()), 4)


# ---- worlds ---------------------------------------------------------------------------------------------------------


def ball(count: int, generator: torch.Generator) -> Films:
    """A ball that bounces off the walls of a box."""
    start = torch.rand(count, 1, 2, generator=generator)
    angle = 2 * math.pi * torch.rand(count, 1, generator=generator)
    speed = 0.03 + 0.05 * torch.rand(count, 1, 1, generator=generator)
    way = torch.stack([angle.cos(), angle.sin()], -1) * speed
    folded = (start + way * torch.arange(-1, LENGTH)[:, None]).remainder(2)
    place = 1 - (1 - folded).abs()  # a path through mirrored rooms, folded back into one
    heading = torch.where(folded < 1, 1.0, -1.0) * way
    return _films(1 + 13 * place, heading / 0.08, None)


def pendulum(count: int, generator: torch.Generator) -> Films:
    """A pendulum without friction, drawn as its bob."""
    angle = 2.5 * (2 * torch.rand(count, generator=generator) - 1)
    speed = torch.zeros(count)
    angles, speeds = [], []
    for _ in range(LENGTH + 1):
        for _ in range(4):
            speed = speed - 0.05 * torch.sin(angle)
            angle = angle + 0.05 * speed
        angles.append(angle)
        speeds.append(speed)
    angle, speed = torch.stack(angles, 1), torch.stack(speeds, 1)
    place = torch.stack([angle.sin(), angle.cos()], -1)
    heading = torch.stack([speed * angle.cos(), -speed * angle.sin()], -1)
    return _films(7.5 + 6 * place, heading, None)


def room(count: int, generator: torch.Generator) -> Films:
    """An agent that walks at random through two rooms, joined by a door."""
    place = free_places(count, generator)
    picks = torch.randint(4, (count, LENGTH), generator=generator)
    places = [place, place]
    for t in range(LENGTH - 1):
        place = walk(place, MOVES[picks[:, t]])
        places.append(place)
    path = torch.stack(places, 1)
    return _films(path, None, F.one_hot(picks, 4).float())


WORLDS: dict[str, Callable[[int, torch.Generator], Films]] = {"ball": ball, "pendulum": pendulum, "room": room}


def free_places(count: int, generator: torch.Generator) -> Tensor:
    """Places (count, 2), row and column, on either side of the wall."""
    place = torch.randint(SIDE, (count, 2), generator=generator).float()
    place[:, 1] = torch.where(place[:, 1] == WALL, WALL - 1, place[:, 1])
    return place


def walk(place: Tensor, move: Tensor) -> Tensor:
    """One step; walls are not walked through."""
    there = (place + move).clamp(0, SIDE - 1)
    blocked = (there[:, 1] == WALL) & (there[:, 0] != DOOR)
    return torch.where(blocked[:, None], place, there)


def _films(place: Tensor, heading: Tensor | None, actions: Tensor | None) -> Films:
    grid = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"), -1).view(-1, 2).float()
    image = (-(place[:, :, None] - grid).square().sum(-1) / 2).exp()  # (N, T + 1, SIDE^2), a soft disc
    if heading is None:  # nothing keeps moving by itself: one frame says all
        return Films(9 * image[:, 1:], place[:, 1:], None, actions)
    frames = torch.cat((9 * image[:, 1:], 18 * (image[:, 1:] - image[:, :-1])), dim=-1)  # each of about unit deviation
    return Films(frames, place[:, 1:], heading[:, 1:], actions)


# ---- planning -------------------------------------------------------------------------------------------------------


def plan(world: WorldModel, films: Films, seed: int, learn: bool, rooms: int = 100, budget: int = 48) -> float:
    """Share of rooms in which the agent reaches a goal image; all it has is frames, of training and of now.

    The map of places is made once from training films, the moves on it are imagined. With ``learn``, a move that ends
    elsewhere is corrected on the map until the room is over; without, the map stays as it was imagined.
    """
    generator = torch.Generator().manual_seed(20_000 + seed)
    starts, goals = free_places(rooms, generator), free_places(rooms, generator)
    imagined = LatentMap(world, world.encoder(films.frames)[0], torch.eye(4))
    solved = [_walked(copy.deepcopy(imagined), world, *pair, learn, budget) for pair in zip(starts, goals, strict=True)]
    return sum(solved) / rooms


def _walked(places: LatentMap, world: WorldModel, start: Tensor, goal: Tensor, learn: bool, budget: int) -> bool:
    """Whether the way is found; where things are is used to move the agent and to tell that it is there."""

    def look(place: Tensor) -> Tensor:
        return world.encoder(_films(place.expand(1, 2, 2), None, None).frames)[0][:, 0]

    place, wanted = start, look(goal)
    for _ in range(budget):
        if torch.equal(place, goal):
            return True
        before = look(place)
        move = places.move(before, wanted)
        place = walk(place[None], MOVES[move])[0]
        if learn:
            places.correct(before, move, look(place))
    return torch.equal(place, goal)


if __name__ == "__main__":
    main()
