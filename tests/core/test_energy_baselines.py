"""What energy is measured beside (benchmarks/mind_energy.py): ACT, PonderNet, the graded tasks, the figures."""

from __future__ import annotations

import json

import pytest
import torch
from scipy.stats import spearmanr

from benchmarks.graded_tasks import TASKS, Batch
from benchmarks.kept_runs import KeptRuns, seeds
from benchmarks.mind_energy import (
    LOSSES,
    Course,
    Samples,
    Thinker,
    act_weights,
    bound,
    cheapest,
    ponder_weights,
    spearman,
)
from tests.numerics import close


def halts(seed=0, steps=12, rows=50):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.rand(rows, generator=generator, dtype=torch.float64)  # rows that stop early and rows that never do
    return torch.rand(steps, rows, generator=generator, dtype=torch.float64) * scale**3


def test_act_is_the_loop_of_the_paper():
    given = halts()
    weights, taken, ponder = act_weights(given)
    for row in range(given.shape[1]):
        total, wanted = 0.0, [0.0] * len(given)
        for step, halt in enumerate(given[:, row].tolist()):
            last = total + halt >= 0.99 or step == len(given) - 1
            wanted[step] = 1 - total if last else halt
            total += halt
            if last:
                break
        close(weights[:, row], torch.tensor(wanted, dtype=torch.float64), 1e-12)
        assert int(taken[row]) == step + 1
        assert float(ponder[row]) == pytest.approx(step + 1 + wanted[step])
    assert len(taken.unique()) > 3


def test_act_that_stops_at_once_has_taken_one_step():
    weights, taken, _ = act_weights(torch.ones(4, 1))
    assert taken.tolist() == [1]
    assert weights[:, 0].tolist() == [1, 0, 0, 0]


def test_acts_cost_pushes_every_probability_before_the_last_step_up():
    given = halts().requires_grad_()
    weights, taken, ponder = act_weights(given)
    (gradient,) = torch.autograd.grad(ponder.sum(), given)
    before = torch.arange(len(given))[:, None] < taken - 1
    assert torch.equal(gradient, torch.where(before, -1.0, 0.0).double())
    close(weights.sum(0), torch.ones_like(weights[0]), 1e-12)


def test_pondernets_weights_are_a_geometric_distribution_cut_at_the_last_step():
    weights = ponder_weights(torch.full((6, 1), 0.3, dtype=torch.float64))[:, 0]
    wanted = [0.3 * 0.7**k for k in range(5)] + [0.7**5]
    close(weights, torch.tensor(wanted, dtype=torch.float64), 1e-12)
    close(ponder_weights(halts()).sum(0), torch.ones(50, dtype=torch.float64), 1e-12)


@pytest.mark.parametrize("stop", LOSSES)
def test_every_learner_teaches_all_that_it_uses(stop):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    thinker = Thinker(TASKS["parity"])
    LOSSES[stop](thinker, Samples(TASKS["parity"], generator)).backward()
    untaught = {name for name, p in thinker.named_parameters() if p.grad is None or not p.grad.any()}
    assert untaught == ({"halt.weight", "halt.bias"} if stop in ("energy", "fixed") else set())


def test_a_corridor_is_answered_as_by_walking():
    batch = TASKS["corridor"].make(64, torch.Generator().manual_seed(1))
    for inputs, answers in zip(batch.inputs, batch.answers, strict=True):
        reached = True
        for wall, answer in zip(inputs[:, 0].tolist(), answers.tolist(), strict=True):
            reached = reached and not wall
            assert answer == reached


def test_a_carry_is_answered_as_by_adding():
    batch = TASKS["carry"].make(64, torch.Generator().manual_seed(1))
    for inputs, answers, hard in zip(batch.inputs, batch.answers, batch.difficulty, strict=True):
        one, other = (sum(int(ones > less) << place for place, ones in enumerate(ones_of(inputs))) for less in (0, 1))
        far, farthest = 0, 0
        for place, (ones, answer) in enumerate(zip(ones_of(inputs), answers.tolist(), strict=True)):
            below = 2 ** (place + 1)
            assert answer == (one % below + other % below) // below
            far = far + 1 if ones == 1 and place else 0
            farthest = max(far, farthest)
        assert farthest == hard


def ones_of(inputs):
    return inputs[:, :3].argmax(-1).tolist()


def test_all_lengths_alike_are_longer_than_mostly_short_ones():
    for task in TASKS.values():
        few, even = (task.make(256, torch.Generator().manual_seed(1), share).difficulty for share in (0.0, 1.0))
        assert even.float().mean() > 1.3 * few.float().mean()


def test_a_sample_is_thought_about_until_another_takes_its_place():
    torch.manual_seed(0)
    task = TASKS["corridor"]
    samples, thinker = Samples(task, torch.Generator().manual_seed(0)), Thinker(task)
    for _ in range(3):
        LOSSES["energy"](thinker, samples)
    before, states = samples.batch.inputs.clone(), samples.states.clone()
    samples.renew()
    stayed = (samples.batch.inputs == before).flatten(1).all(1)
    assert 0 < stayed.sum() < len(stayed)
    assert torch.equal(samples.states[stayed], states[stayed])
    assert samples.states[stayed].any()
    assert not samples.states[~stayed].any()


def test_thresholds_give_up_a_fifth_of_a_percent_at_most():
    slope = torch.tensor([1.0, 0.25, 0.0])[:, None].expand(3, 1_000)
    good = torch.ones(3, 1_000, dtype=torch.bool)
    good[0, :3], good[1, :2] = False, False
    assert cheapest(Course(slope, torch.zeros(3, 1_000), good))[0] == 0.3  # after the second step: 0.998 of 1


def test_parity_is_answered_as_by_counting():
    batch = TASKS["parity"].make(64, torch.Generator().manual_seed(1))
    for inputs, answers, hard in zip(batch.inputs, batch.answers, batch.difficulty, strict=True):
        odd, far, farthest = 0, 0, 0
        for (one, _, fresh), answer in zip(inputs.tolist(), answers.tolist(), strict=True):
            odd, far = (int(one), 0) if fresh else ((odd + int(one)) % 2, far + 1)
            farthest = max(far, farthest)
            assert answer == odd
        assert farthest == hard


def test_a_maze_is_answered_as_by_breadth_first_search():
    batch = TASKS["maze"].make(64, torch.Generator().manual_seed(1))
    for inputs, answers, hard in zip(batch.inputs, batch.answers, batch.difficulty, strict=True):
        free = {tuple(cell) for cell in inputs[..., 1].nonzero().tolist()}
        reached = [{tuple(inputs[..., 2].nonzero()[0].tolist())}]
        while reached[-1]:
            around = {(r + a, c + b) for r, c in reached[-1] for a, b in ((0, 1), (0, -1), (1, 0), (-1, 0))}
            reached.append((around & free).difference(*reached))
        assert {tuple(cell) for cell in (answers == 1).nonzero().tolist()} == set().union(*reached)
        assert {tuple(cell) for cell in (answers >= 0).nonzero().tolist()} == free
        assert hard == len(reached) - 2
        for row, column in free:
            sides = [(row, column - 1), (row, column + 1), (row - 1, column), (row + 1, column)]
            assert inputs[row, column, 3:].tolist() == [side in free for side in sides]
    assert len(batch.difficulty.unique()) > 5


def test_rank_correlation_is_scipys():
    generator = torch.Generator().manual_seed(2)
    one, other = torch.randint(9, (2, 200), generator=generator)
    assert spearman(one, other + one) == pytest.approx(spearmanr(one, other + one).statistic, abs=5e-4)
    assert spearman(one, torch.ones(200)) == 0


def test_the_bound_leaves_out_the_hardest_that_may_be_wrong():
    batch = Batch(torch.zeros(4), torch.zeros(4), torch.tensor([31, 1, 4, 9]))
    assert [bound(batch, share) for share in (1.0, 0.75, 0.5, 0.25, 0.0)] == [16, 5, 2, 1, 1]


def test_runs_outlive_a_cut_and_are_replaced_by_name(tmp_path):
    path = tmp_path / "results" / "found.json"
    for seed, value in ((0, 1), (1, 2), (0, 3)):
        KeptRuns(path, ("seed",), more=True).add({"seed": seed, "value": value})
    assert json.loads(path.read_text())["runs"] == [{"seed": 1, "value": 2}, {"seed": 0, "value": 3}]
    assert KeptRuns(path, ("seed",), more=False).runs == []
    assert (seeds("", 5), seeds("3", 5), seeds("3,4", 5), seeds("3,", 5)) == ([0, 1, 2, 3, 4], [0, 1, 2], [3, 4], [3])
