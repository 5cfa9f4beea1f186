"""Planning with a world model: a map of the places that were seen, walked in the mind before it is walked.

The one idea: an agent's own observations, encoded and freed of doubles, are the places; where a move leads is what the
world model imagines, taken to be the nearest place. Breadth-first search from the goal over these imagined moves gives
the way. A move that turns out otherwise is corrected on the map, which is how a wrong expectation does not repeat.
Sources: a memory of observations as a graph (Savinov et al. 2018, arXiv:1803.00653); imagined and real transitions in
one table (Sutton 1991, Dyna).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nexus.core.world_model import WorldModel

__all__ = ["LatentMap"]


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

    Attributes:
        places: (N, d_latent). leads: (N, A) the place that each move is believed to lead to.

    Raises:
        ValueError: shapes that do not fit the world model, or nothing seen.
    """

    @torch.no_grad()
    def __init__(self, world: WorldModel, seen: Tensor, moves: Tensor, radius: float | None = None) -> None:
        c = world.config
        if not seen.numel() or seen.shape[-1] != c.d_latent:
            raise ValueError(
                f"seen: has shape {tuple(seen.shape)}; give latents (..., {c.d_latent}), as world.encode makes them"
            )
        if moves.dim() != 2 or not len(moves) or moves.shape[-1] != c.d_action:
            raise ValueError(f"moves: have shape {tuple(moves.shape)}; give actions (A, {c.d_action})")
        self.places = _apart(seen.flatten(0, -2), _stride(seen) / 2 if radius is None else radius)
        imagined = [world.predict(self.places, move.expand(len(self.places), -1)) for move in moves]
        self.leads = torch.stack([self.locate(latents) for latents in imagined], dim=1)

    def locate(self, latents: Tensor) -> Tensor:
        """The nearest place (B,) of each of ``latents`` (B, d_latent)."""
        return torch.cdist(latents, self.places).argmin(1)

    def distances(self, goals: Tensor) -> Tensor:
        """Moves from each place to each goal (G,), a number of a place; (G, N), infinite where no way is known."""
        found = torch.full((len(goals), len(self.places)), float("inf"), device=goals.device)
        found[torch.arange(len(goals)), goals] = 0
        for _ in range(len(self.places)):
            nearer = torch.minimum(found, 1 + found[:, self.leads].amin(-1))
            if torch.equal(nearer, found):
                break
            found = nearer
        return found

    def move(self, states: Tensor, goals: Tensor) -> Tensor:
        """The first move (B,) of a shortest known way from ``states`` to ``goals``, latents (B, d_latent) both.

        A move that is believed to lead nowhere is never taken for a way; where no way is known, the move is one to the
        place in latent space that is nearest to the goal.
        """
        here, there = self.locate(states), self.locate(goals)
        distances = self.distances(there)
        after = distances.gather(1, self.leads[here])  # (B, A)
        lost = after.isinf().all(1)
        straight = torch.cdist(self.places[there][:, None], self.places[self.leads[here]])[:, 0]
        return torch.where(lost, straight.argmin(1), after.argmin(1))

    def correct(self, before: Tensor, moves: Tensor, after: Tensor) -> Tensor:
        """Note where ``moves`` (B,) led from ``before`` to ``after``, latents (B, d_latent).

        Returns:
            (B,) whether the map had it otherwise.
        """
        start, end = self.locate(before), self.locate(after)
        wrong = self.leads[start, moves] != end
        self.leads[start, moves] = end
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
