"""Sampling: limits against plain definitions, frequencies against probabilities, seeds."""

import pytest
import torch

from nexus.core.base import ConfigError
from nexus.inference.sampling import Sampler, Sampling, distribution, draw, penalise

CPU = torch.device("cpu")


def sampler(sampling, rows=1, vocab=5, prompts=None):
    return Sampler(sampling, prompts or [[0]] * rows, vocab, CPU)


def kept(logits, **changes):
    """Ids with any probability."""
    return set(distribution(torch.tensor([logits]), Sampling(**changes))[0].nonzero().flatten().tolist())


def test_temperature_scales_logits():
    logits = torch.randn(3, 11, dtype=torch.float64)
    torch.testing.assert_close(distribution(logits, Sampling(temperature=0.5)), (logits * 2).softmax(-1))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {0, 1, 2, 3}),
        ({"top_k": 2}, {1, 3}),
        ({"top_k": 9}, {0, 1, 2, 3}),
        ({"top_p": 0.0}, {3}),
        ({"top_p": 0.39}, {3}),
        ({"top_p": 0.41}, {1, 3}),
        ({"top_p": 0.95}, {0, 1, 2, 3}),
        ({"min_p": 0.4}, {1, 2, 3}),
        ({"min_p": 1.0}, {3}),
        ({"top_k": 3, "min_p": 0.6}, {1, 3}),
    ],
)
def test_limits_keep_what_they_should(changes, expected):
    assert kept(torch.tensor([0.1, 0.3, 0.2, 0.4]).log().tolist(), **changes) == expected


def test_top_p_is_taken_of_what_top_k_left():
    logits = torch.tensor([0.1, 0.3, 0.2, 0.4]).log().tolist()
    assert kept(logits, top_p=0.55) == {1, 3}
    assert kept(logits, top_k=2, top_p=0.55) == {3}  # 0.4 of 0.7 is 0.57


def test_top_p_keeps_the_fewest_that_reach_it():
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        logits = torch.randn(1, 50, generator=generator, dtype=torch.float64) * 3
        plain, limited = logits.softmax(-1)[0], distribution(logits, Sampling(top_p=0.8))[0]
        inside = plain[limited > 0]
        assert inside.sum() >= 0.8 > inside.sum() - inside.min()
        torch.testing.assert_close(limited[limited > 0], inside / inside.sum())


def test_frequencies_follow_probabilities():
    n, probabilities = 20_000, torch.tensor([0.0, 0.5, 0.25, 0.2, 0.05, 0.0], dtype=torch.float64)
    uniform = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts = draw(probabilities.expand(n, -1), uniform).bincount(minlength=6)
    expected = probabilities * n
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi_square < 16.27  # 0.1 % point at 3 degrees of freedom


def test_draws_at_the_edges_have_probability():
    probabilities = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]], dtype=torch.float64).expand(2, -1)
    uniform = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert draw(probabilities, uniform).tolist() == [1, 3]


def test_a_sampler_draws_by_its_distribution():
    logits = torch.tensor([[0.6, 0.3, 0.1]]).log()
    pick = sampler(Sampling(seed=1), vocab=3)
    counts = torch.tensor([int(pick(logits)) for _ in range(3_000)]).bincount(minlength=3) / 3_000
    torch.testing.assert_close(counts, torch.tensor([0.6, 0.3, 0.1]), atol=0.03, rtol=0)


def test_greedy_takes_the_likeliest():
    assert sampler(Sampling(temperature=0.0), 2, 3)(torch.tensor([[1.0, 3.0, 2.0], [9.0, 0.0, 0.0]])).tolist() == [1, 0]


def test_seeds_make_draws_repeatable_and_rows_different():
    logits = torch.zeros(4, 1_000)
    first, again = (sampler(Sampling(seed=7), 4, 1_000) for _ in range(2))
    one, two = [first(logits).tolist() for _ in range(3)], [again(logits).tolist() for _ in range(3)]
    assert one == two
    assert len({tuple(row) for row in zip(*one, strict=True)}) == 4
    assert sampler(Sampling(seed=8), 4, 1_000)(logits).tolist() != one[0]


def test_without_a_seed_torch_decides():
    logits = torch.zeros(1, 10_000)
    torch.manual_seed(3)
    first = [int(sampler(Sampling(), 1, 10_000)(logits)) for _ in range(3)]
    torch.manual_seed(3)
    assert first == [int(sampler(Sampling(), 1, 10_000)(logits)) for _ in range(3)]
    assert len(set(first)) > 1


def test_rows_that_stay_keep_their_draws():
    logits = torch.zeros(3, 1_000)
    whole, part = sampler(Sampling(seed=2), 3, 1_000), sampler(Sampling(seed=2), 3, 1_000)
    assert whole(logits).tolist() == part(logits).tolist()
    part.keep(torch.tensor([0, 2]))
    assert part(logits[:2]).tolist() == whole(logits)[[0, 2]].tolist()


def test_the_penalty_divides_positive_and_multiplies_negative_logits():
    logits, said = torch.tensor([[2.0, -2.0, 2.0, -2.0]]), torch.tensor([[True, True, False, False]])
    assert penalise(logits, said, 2.0).tolist() == [[1.0, -4.0, 2.0, -2.0]]


def test_the_penalty_counts_prompt_and_answer():
    pick = sampler(Sampling(temperature=0.0, repetition_penalty=10.0), prompts=[[4], [0, 4]])
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]] * 2)
    assert pick(logits).tolist() == [3, 3]
    pick.keep(torch.tensor([1]))
    assert [pick(logits[1:]).tolist() for _ in range(3)] == [[2], [1], [4]]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 1.5}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
    ],
)
def test_settings_out_of_range_are_named(changes, named):
    with pytest.raises(ConfigError, match=named):
        Sampling(**changes)
