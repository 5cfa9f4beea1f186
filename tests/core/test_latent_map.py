"""Planning over imagined moves: the shortest way, a wrong expectation that is corrected, and places without doubles."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nexus.core.latent_map import LatentMap
from nexus.core.world_model import WorldModel, WorldModelConfig

MOVES = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
GRID = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))


def build() -> WorldModel:
    """A world model whose latents are places in a plane, and who believes that every move succeeds."""
    world = WorldModel(WorldModelConfig(d_input=2, d_latent=2, d_action=4, n_levels=1), observe=nn.Identity())
    believes = nn.Linear(6, 2)
    with torch.no_grad():
        believes.weight.copy_(torch.cat((torch.zeros(2, 2), MOVES.mT), dim=1))
        believes.bias.zero_()
    world.predictors[0] = nn.Sequential(believes)
    return world


def walk(places, start, goal, walled=(), learn=False, budget=20):
    """Steps taken to the goal, None if it was not reached; no move enters a walled cell or leaves the grid."""
    here = torch.tensor([start])
    for step in range(budget):
        if here[0].tolist() == goal:
            return step
        move = places.move(here, torch.tensor([goal]))
        there = (here + MOVES[move]).clamp(0, 4)
        after = here if tuple(there[0].tolist()) in walled else there
        if learn:
            places.correct(here, move, after)
        here = after
    return None


def test_a_way_is_a_shortest_one_and_the_border_is_known():
    places = LatentMap(build(), GRID, torch.eye(4), radius=0.5)
    assert places.places.shape == (25, 2)
    assert walk(places, [0.0, 0.0], [4.0, 3.0]) == 7
    assert places.distances(torch.tensor([0]))[0].tolist() == GRID.sum(1).tolist()
    corner = places.locate(torch.tensor([[4.0, 4.0]]))
    assert places.leads[corner, 0, 0] == corner  # there is no place beyond the border


def test_a_wall_that_was_not_foreseen_is_learnt_by_walking_into_it():
    walled = {(2.0, float(column)) for column in range(4)}  # the way is through (2, 4)
    start, goal = [1.0, 0.0], [3.0, 0.0]
    assert walk(LatentMap(build(), GRID, torch.eye(4), 0.5), start, goal, walled) is None
    places = LatentMap(build(), GRID, torch.eye(4), 0.5)
    assert walk(places, start, goal, walled, learn=True) is not None
    assert walk(places, start, goal, walled) == 10  # and now it is known from the start
    assert places.correct(torch.tensor([[0.0, 0.0]]), torch.tensor([0]), torch.tensor([[1.0, 0.0]])).tolist() == [False]


def test_a_door_that_is_imagined_half_open_is_tried_where_there_is_no_other_way():
    world = build()
    believed = world.predict

    def doubtful(state, action=None, level=0):
        """Every move down from row 1 falls short, least so at (1, 4)."""
        after = believed(state, action, level)
        short = (state[:, 0] == 1) & (action[:, 0] == 1)
        back = torch.where(state[:, 1] == 4, 0.55, 1.0)
        return torch.where(short[:, None], after - back[:, None] * MOVES[0], after)

    world.predict = doubtful
    places = LatentMap(world, GRID, torch.eye(4), 0.5)
    assert places.leads[places.locate(torch.tensor([[1.0, 4.0]])), 0].tolist()[0][:2] == [9, 14]  # itself, then beyond
    walled = {(2.0, float(column)) for column in range(4)}
    assert walk(places, [1.0, 0.0], [3.0, 0.0], walled) == 10
    sure = LatentMap(world, GRID, torch.eye(4), 0.5, readings=1)
    assert walk(sure, [1.0, 0.0], [3.0, 0.0], walled) is None


def test_a_film_gives_its_places_once_each_and_the_radius_itself():
    film = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.1, 1.0], [0.0, 1.0]]])
    places = LatentMap(build(), film, torch.eye(4))
    assert places.places.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]


def test_where_no_way_is_known_the_nearest_place_is_gone_to():
    places = LatentMap(build(), GRID, torch.eye(4), 0.5)
    places.leads[:] = torch.arange(25)[:, None, None]  # nothing is believed to move
    places.leads[12, 2] = 13
    assert places.move(GRID[12:13], GRID[14:15]).tolist() == [2]


@pytest.mark.parametrize(
    ("seen", "moves", "words"),
    [
        (torch.zeros(3, 4), torch.eye(4), "seen: has shape"),
        (torch.zeros(0, 2), torch.eye(4), "seen: has shape"),
        (GRID, torch.eye(3), "moves: have shape"),
        (GRID, torch.eye(4), "radius: is not given"),
    ],
)
def test_what_does_not_fit_is_named(seen, moves, words):
    with pytest.raises(ValueError, match=words):
        LatentMap(build(), seen, moves)
