"""Requests answered together, with and without cached states: the same answers as each alone."""

import pytest
import torch

from nexus.inference.batching import count_rows
from nexus.inference.sampling import Sampling
from nexus.serving import batch as batch_module
from nexus.serving.structured import Grammar, json_rule
from tests.serving.small import Answers, alone, free_release, release_of

PLANS = pytest.mark.parametrize(
    "changes",
    [{"plan": "MWMA"}, {"plan": "A"}, {"plan": "M"}, {"plan": "W", "window": 3}, {"plan": "WA", "attention_window": 6}],
    ids=lambda changes: changes["plan"],
)
LENGTHS = (30, 1, 45, 18, 2, 33)


def prompts_of(lengths=LENGTHS, prefix=(), seed=1):
    draw = torch.Generator().manual_seed(seed)
    return [[*prefix, *torch.randint(256, (n,), generator=draw).tolist()] for n in lengths]


class Fed:
    """Shapes of all that a model is fed."""

    def __init__(self, model):
        self.shapes = []
        model.register_forward_pre_hook(lambda _module, args: self.shapes.append(tuple(args[0].shape)))


@PLANS
@pytest.mark.parametrize("cache_bytes", [0, 2**30])
def test_rows_that_join_and_leave_between_steps_equal_each_alone(changes, cache_bytes, monkeypatch):
    monkeypatch.setattr(batch_module, "PART", 8)  # so that these short prompts are read in several parts
    release, prompts = release_of(**changes), prompts_of()
    news = [5, 14, 9, 3, 20, 7]
    expected = [alone(release, prompt, new) for prompt, new in zip(prompts, news, strict=True)]
    answers, fed = Answers(release, rows=3, cache_bytes=cache_bytes), Fed(release.model)
    for prompt, new in zip(prompts, news, strict=True):
        answers.ask(prompt, new)
        answers.batch.step()
    assert answers.run() == expected
    assert max(rows for rows, _ in fed.shapes) == 3
    assert max(length for _, length in fed.shapes) == 8
    assert answers.batch._state is None


@PLANS
def test_a_second_turn_equals_reading_everything_and_reads_only_what_is_new(changes):
    release = release_of(**changes)
    answers = Answers(release)
    (prompt,) = prompts_of((60,))
    answers.ask(prompt)
    answers.run()
    turn = [*prompt, *answers.rows[0].tokens, 257, 5, 6, 7]
    fed = Fed(release.model)
    answers.ask(turn)
    assert answers.run()[1] == alone(release, turn)
    assert answers.pieces[1][-1].cached == 60 + 12 - 1  # the last token of an answer was never read
    assert fed.shapes[:1] == [(1, 4)]
    assert len(fed.shapes) > 1


@PLANS
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_branching_at_any_token_equals_reading_everything(changes, step):
    release = release_of(**changes)
    answers = Answers(release)
    (base,) = prompts_of((40,))
    answers.ask(base)
    answers.run()
    told = base + answers.rows[0].tokens
    for cut in range(1, len(told) + 1, step):
        other = [*told[:cut], 9, 8, 7]
        for _ in range(2):  # the second time from the states that the first left
            number = answers.ask(other)
            assert answers.run()[number] == alone(release, other), cut


def test_a_third_prompt_profits_from_where_two_parted():
    release = release_of()
    head, *_ = prompts_of((50,))
    answers = Answers(release)
    for rest in prompts_of((20, 21, 22), head):
        number = answers.ask(rest)
        assert answers.run()[number] == alone(release, rest)
    assert [pieces[-1].cached for pieces in answers.pieces] == [0, 0, 50]


def test_the_same_prompt_again_is_not_read_again():
    release = release_of()
    answers = Answers(release)
    (prompt,) = prompts_of((64,))
    for _ in range(2):
        answers.ask(prompt)
        answers.run()
    assert answers.text(0) == answers.text(1) != ""
    assert answers.pieces[1][-1].cached == 63


def test_states_are_not_shared_between_owners():
    answers = Answers(release_of())
    (prompt,) = prompts_of((64,))
    for owner in ("one", "other"):
        answers.ask(prompt, owner=owner)
        answers.run()
    assert [pieces[-1].cached for pieces in answers.pieces] == [0, 0]


def test_forgetting_drops_an_owners_states_and_those_that_open_requests_would_leave():
    answers = Answers(release_of())
    done, open_ = prompts_of((64, 40))
    for owner in ("ann", "bob"):
        answers.ask(done, owner=owner)
        answers.run()
    answers.ask(open_, owner="ann")
    answers.batch.step()
    answers.ask([*open_, 1], owner="ann")  # waits
    answers.batch.forget("ann")
    answers.run()
    again = [answers.ask(prompt, owner=owner) for prompt, owner in ((done, "ann"), (open_, "ann"), (done, "bob"))]
    answers.run()
    assert [answers.pieces[i][-1].cached for i in again] == [0, 0, 63]
    answers.ask(open_, owner="ann")
    answers.run()
    assert answers.pieces[-1][-1].cached == 39, "from then on they are kept again"


def test_the_cache_keeps_its_budget_and_drops_the_oldest():
    release = release_of()
    answers = Answers(release)
    first, second, third = prompts_of((64, 64, 64))
    answers.ask(first)
    answers.run()
    size = answers.batch.cache.nbytes
    small = Answers(release, cache_bytes=int(2.2 * size))
    for prompt in (first, second, first, third, first, second):
        small.ask(prompt)
        small.run()
        assert small.batch.cache.nbytes <= small.batch.cache.budget
    assert [pieces[-1].cached for pieces in small.pieces] == [0, 0, 63, 0, 63, 0]


def test_a_seed_gives_the_same_answer_in_any_company():
    release = release_of()
    prompts = prompts_of()
    rule = Sampling(temperature=1.0, top_p=0.9, seed=5)
    answers = Answers(release, rows=4)
    for i, prompt in enumerate(prompts):
        answers.ask(prompt, sampling=rule if i % 2 else None)
    expected = [alone(release, prompt, sampling=rule if i % 2 else None) for i, prompt in enumerate(prompts)]
    assert answers.run() == expected
    assert expected[1] != alone(release, prompts[1]), "chance must change an answer for this test to say anything"


def test_rows_of_all_kinds_equal_each_alone():
    release = free_release()
    grammar = Grammar(release, f"start: {json_rule({'type': 'array', 'items': {'type': 'integer'}})}", "schema")
    chance = Sampling(temperature=1.2, seed=3)
    kinds = [
        {},
        {"sampling": chance},
        {"grammar": grammar, "sampling": chance},
        {"logprobs": 3},
        {"stop": ("e", "a")},
        {"grammar": grammar, "logprobs": 1},
    ]
    prompts = prompts_of()

    def told(answers, i):
        scores = [scored for piece in answers.pieces[i] for scored in piece.scores]
        return answers.rows[i].tokens, answers.text(i), answers.pieces[i][-1].finish, scores

    together = Answers(release, rows=4)
    for prompt, kind in zip(prompts, kinds, strict=True):
        together.ask(prompt, 15, **kind)
        together.batch.step()
    together.run()
    for i, (prompt, kind) in enumerate(zip(prompts, kinds, strict=True)):
        single = Answers(release, cache_bytes=0)
        single.ask(prompt, 15, **kind)
        single.run()
        *same, scores = told(together, i)
        *expected, alone_scores = told(single, 0)
        assert same == expected, kind
        assert [s.token for s in scores] == [s.token for s in alone_scores]
        assert [s.logprob for s in scores] == pytest.approx([s.logprob for s in alone_scores], abs=1e-9)


def test_a_cancelled_request_leaves_and_the_others_do_not_notice():
    release = release_of()
    prompts = prompts_of((20, 21, 22, 23))
    answers = Answers(release, rows=3)
    for prompt in prompts:
        answers.ask(prompt, 30)
    while len(answers.batch.running) < 3:
        answers.batch.step()
    answers.rows[0].cancelled = answers.rows[3].cancelled = True  # one under way, one in the queue
    answers.batch.step()
    assert len(answers.batch.running) == 2
    assert count_rows(answers.batch._state) == 2
    texts = answers.run()
    assert texts[1:3] == [alone(release, prompt, 30) for prompt in prompts[1:3]]
    assert (texts[3], answers.pieces[0][-1].finish) == ("", None)


def test_a_batch_that_never_empties_does_not_grow():
    release = release_of(plan="A")
    answers = Answers(release, rows=2, cache_bytes=0)
    lengths = []
    for prompt in prompts_of((10,) * 40):
        answers.ask(prompt, 10)
        for _ in range(6):
            answers.batch.step()
            if answers.batch._state is not None:
                lengths.append(answers.batch._state.layers[0].length)
    assert max(lengths) <= 10 + 10 + 10  # the longest row, and what came beside it before it left


def test_a_step_that_fails_ends_the_requests_with_an_error():
    answers = Answers(release_of())
    answers.ask([1, 2, 3])
    answers.batch.fail("broken")
    assert (answers.pieces[0][-1].finish, answers.pieces[0][-1].text) == ("error", "broken")
    assert not answers.batch.busy
