"""Planning with a world model: a map of the places that were seen, walked in the mind before it is walked.

The one idea: an agent's own observations, encoded and freed of doubles, are the places; where a move leads is what the
world model imagines, read as the nearest place. An imagined latent is a little off, so the next nearest places are
readings of it too, each as much dearer as it is less likely. Breadth-first search from the goal gives the way. A move
that turns out otherwise is corrected on the map, which is how a wrong expectation does not repeat.
Sources: a memory of observations as a graph (Savinov et al. 2018, arXiv:1803.00653); imagined and real transitions in
one table (Sutton 1991, Dyna).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nexus.core.world_model import WorldModel

__all__ = ["LatentMap"]

OFF = 0.25  # of the radius: how far from the truth imagined latents are taken to lie


class LatentMap:
    """Places in latent space, and where each of a few moves is imagined to lead.

    ::

        places = LatentMap(world, world.encode(films), torch.eye(4))       # four moves, one-hot
        move = places.move(world.encode(now)[:, -1], world.encode(goal)[:, -1])
        places.correct(before, move, after)                                # what happened counts more

    Args:
        world: a trained world model; its encoder and its predictor of one step are all that is used.
        seen: (..., d_latent) latents of what has been observed.
        moves: (A, d_action) the actions to choose from.
        radius: latents nearer than this are one place; half the median distance between neighbours in time if None,
            for which ``seen`` is (B, T, d_latent).
        readings: how many places an imagined latent may be read as.

    Attributes:
        places: (N, d_latent).
        leads: (N, A, readings) the places that each move may lead to, the likeliest first.
        costs: (N, A, readings) 1, the move itself, and how much less likely than the first (log) a reading is.

    Raises:
        ValueError: shapes that do not fit the world model, or nothing seen.
    """

    @torch.no_grad()
    def __init__(
        self, world: WorldModel, seen: Tensor, moves: Tensor, radius: float | None = None, readings: int = 3
    ) -> None:
        c = world.config
        if not seen.numel() or seen.shape[-1] != c.d_latent:
            raise ValueError(
                f"seen: has shape {tuple(seen.shape)}; give latents (..., {c.d_latent}), as world.encode makes them"
            )
        if moves.dim() != 2 or not len(moves) or moves.shape[-1] != c.d_action:
            raise ValueError(f"moves: have shape {tuple(moves.shape)}; give actions (A, {c.d_action})")
        radius = _stride(seen) / 2 if radius is None else radius
        self.places = _apart(seen.flatten(0, -2), radius)
        imagined = [world.predict(self.places, move.expand(len(self.places), -1)) for move in moves]
        far = torch.cdist(torch.stack(imagined, dim=1), self.places)  # (N, A, N)
        near, self.leads = far.topk(min(readings, len(self.places)), dim=-1, largest=False)
        off = near.square() - near[..., :1].square()
        self.costs = 1 + off / (2 * (OFF * radius) ** 2 + torch.finfo(off.dtype).tiny)

    def locate(self, latents: Tensor) -> Tensor:
        """The nearest place (B,) of each of ``latents`` (B, d_latent)."""
        return torch.cdist(latents, self.places).argmin(1)

    def distances(self, goals: Tensor) -> Tensor:
        """Cost of the way from each place to each goal (G,), given by number; (G, N), infinite where none is known."""
        found = torch.full((len(goals), len(self.places)), float("inf"), device=goals.device)
        found[torch.arange(len(goals)), goals] = 0
        for _ in range(len(self.places)):
            nearer = torch.minimum(found, (self.costs + found[:, self.leads]).flatten(2).amin(-1))
            if torch.equal(nearer, found):
                break
            found = nearer
        return found

    def move(self, states: Tensor, goals: Tensor) -> Tensor:
        """The first move (B,) of the cheapest known way from ``states`` to ``goals``, latents (B, d_latent) both.

        Where no way is known, the move is one to the place that is nearest to the goal in latent space.
        """
        here, there = self.locate(states), self.locate(goals)
        distances = self.distances(there)
        rows = torch.arange(len(here), device=here.device)[:, None, None]
        after = (self.costs[here] + distances[rows, self.leads[here]]).amin(-1)  # (B, A)
        lost = after.isinf().all(1)
        straight = torch.cdist(self.places[there][:, None], self.places[self.leads[here, :, 0]])[:, 0]
        return torch.where(lost, straight.argmin(1), after.argmin(1))

    def correct(self, before: Tensor, moves: Tensor, after: Tensor) -> Tensor:
        """Note where ``moves`` (B,) led from ``before`` to ``after``, latents (B, d_latent).

        Returns:
            (B,) whether the map had it otherwise.
        """
        start, end = self.locate(before), self.locate(after)
        wrong = self.leads[start, moves, 0] != end
        self.leads[start, moves] = end[:, None]
        self.costs[start, moves] = 1.0
        return wrong


def _stride(seen: Tensor) -> float:
    """The median distance of latents that follow each other and are not the same."""
    if seen.dim() < 3 or seen.shape[-2] < 2:
        raise ValueError(f"radius: is not given, and seen {tuple(seen.shape)} has no time; give (B, T, d_latent)")
    steps = (seen[..., 1:, :] - seen[..., :-1, :]).norm(dim=-1)
    moved = steps[steps > 1e-3 * steps.max()]
    return float(moved.median()) if moved.numel() else 0.0


def _apart(latents: Tensor, radius: float) -> Tensor:
    """Some of ``latents`` (N, D), so that all others are within ``radius`` of one of them and these are not."""
    left, kept = latents, []
    while len(left):
        kept.append(left[0])
        left = left[torch.cdist(left, left[:1])[:, 0] > radius]
    return torch.stack(kept)
