"""Generation: a batch equals each prompt alone, a stream equals a batch, a state goes on as if all were read again."""

import pytest
import torch

from nexus.inference.batching import batches, count_rows, families, merge, take_rows
from nexus.inference.generation import generate, generate_many, stream
from nexus.inference.sampling import Sampling
from tests.tiny_release import tiny_model

EOS = range(0, 259, 9)  # many ends, so that rows end at different times
LENGTHS = (3, 9, 1, 14, 6, 9, 2)
PLANS = pytest.mark.parametrize(
    "changes",
    [{"plan": "MWMA"}, {"plan": "A"}, {"plan": "M"}, {"plan": "W", "window": 3}, {"plan": "WA", "attention_window": 6}],
    ids=lambda changes: changes["plan"],
)


def model_of(**changes):
    return tiny_model(**changes).double()


def prompts_of(lengths=LENGTHS, prefix=0, seed=1):
    draw = torch.Generator().manual_seed(seed)
    head = torch.randint(259, (prefix,), generator=draw).tolist()
    return [head + torch.randint(259, (n,), generator=draw).tolist() for n in lengths]


class Fed:
    """Shapes of all that a model is fed."""

    def __init__(self, model):
        self.shapes = []
        model.register_forward_pre_hook(lambda _module, args: self.shapes.append(tuple(args[0].shape)))

    @property
    def tokens(self):
        return sum(rows * length for rows, length in self.shapes)


@PLANS
def test_a_greedy_batch_equals_each_prompt_alone(changes):
    model, prompts = model_of(**changes), prompts_of()
    alone = [generate(model, [prompt], max_new_tokens=24, eos_ids=EOS)[0] for prompt in prompts]
    assert generate(model, prompts, max_new_tokens=24, eos_ids=EOS) == alone
    assert len({len(answer) for answer in alone}) > 2, "rows must end at different times for this test to say anything"


@PLANS
@pytest.mark.parametrize("prefix", [0, 15, 16, 40])
def test_many_prompts_equal_each_alone(changes, prefix):
    model, prompts = model_of(**changes), prompts_of(prefix=prefix)
    alone = [generate(model, [prompt], max_new_tokens=12, eos_ids=EOS)[0] for prompt in prompts]
    assert generate_many(model, prompts, max_new_tokens=12, eos_ids=EOS, batch_tokens=200, batch_rows=4) == alone


def test_a_single_prompt_and_no_prompt_at_all():
    model = model_of()
    (prompt,) = prompts_of((20,))
    assert generate_many(model, [prompt], max_new_tokens=5) == generate(model, [prompt], max_new_tokens=5)
    assert generate_many(model, [], max_new_tokens=5) == generate(model, [], max_new_tokens=5) == []


def test_equal_prompts_share_all_but_one_token():
    model, (prompt,) = model_of(), prompts_of((30,))
    alone = generate(model, [prompt], max_new_tokens=5)
    fed = Fed(model)
    assert generate_many(model, [prompt] * 3, max_new_tokens=5) == alone * 3
    assert fed.shapes[:2] == [(1, 29), (3, 1)]


def test_what_prompts_begin_with_is_read_once():
    model, prompts = model_of(), prompts_of(prefix=100)
    fed = Fed(model)
    generate_many(model, prompts, max_new_tokens=1, batch_rows=3)
    assert fed.tokens == 100 + sum(LENGTHS)


@PLANS
def test_families_of_prompts_are_answered_together(changes):
    model = model_of(**changes)
    prompts = [prompt for seed in (1, 2, 3) for prompt in prompts_of((3, 9, 5, 3), 20 + seed, seed)]
    prompts += prompts_of((4, 40), seed=9)
    alone = [generate(model, [prompt], max_new_tokens=9, eos_ids=EOS)[0] for prompt in prompts]
    fed = Fed(model)
    assert generate_many(model, prompts, max_new_tokens=9, eos_ids=EOS) == alone
    assert fed.shapes[0] == (2, 40), "those without a family"
    after = fed.shapes.index((3, 23))  # then three beginnings at once, and what follows them by length
    assert fed.shapes[after + 1 : after + 4] == [(6, 3), (3, 5), (3, 9)]
    assert generate_many(model, prompts, max_new_tokens=9, eos_ids=EOS, batch_rows=3) == alone


def test_rows_leave_the_batch_as_they_end():
    model, prompts = model_of(), prompts_of()
    fed = Fed(model)
    answers = generate(model, prompts, max_new_tokens=24, eos_ids=EOS)
    rows = [shape[0] for shape in fed.shapes]
    assert rows == sorted(rows, reverse=True)
    for step, width in enumerate(rows[1:], start=1):
        alive = sum(len(answer) > step for answer in answers)
        assert alive <= width < alive / 0.75 + 1  # at most a quarter of the work is wasted on rows that have ended


def test_padding_in_a_tensor_equals_lists():
    model, prompts = model_of(), prompts_of((3, 5))
    ids = torch.tensor([[7, 7, *prompts[0]], prompts[1]])
    mask = torch.tensor([[False, False, True, True, True], [True] * 5])
    assert generate(model, ids, mask=mask, max_new_tokens=6) == generate(model, prompts, max_new_tokens=6)
    assert generate(model, ids[1:], max_new_tokens=6) == generate(model, prompts[1:], max_new_tokens=6)


def test_where_answers_end():
    model, prompts = model_of(), prompts_of((5,))
    (free,) = generate(model, prompts, max_new_tokens=10)
    assert len(free) == 10
    first = free.index(free[4])
    assert generate(model, prompts, max_new_tokens=10, eos_ids=[free[4]]) == [free[: first + 1]]
    assert generate(model, prompts, max_new_tokens=10, stop=lambda answer: len(answer) == 3) == [free[:3]]


def test_progress_counts_up_to_all():
    seen = []
    generate_many(model_of(), prompts_of(), max_new_tokens=2, batch_rows=3, progress=lambda *now: seen.append(now))
    assert seen == [(3, 7), (6, 7), (7, 7)]


@PLANS
def test_a_stream_equals_a_batch(changes):
    model, prompts = model_of(**changes), prompts_of()
    batch = generate(model, prompts, max_new_tokens=12, eos_ids=EOS)
    assert [list(stream(model, prompt, max_new_tokens=12, eos_ids=EOS)) for prompt in prompts] == batch


@PLANS
@pytest.mark.parametrize("heard", [0, 1, 4])
def test_going_on_from_a_stream_equals_reading_again(changes, heard):
    model, (first, second) = model_of(**changes), prompts_of((11, 7))
    answer = stream(model, first, max_new_tokens=8)
    said = [next(answer) for _ in range(heard)]
    assert answer.tokens == said
    fed = Fed(model)
    on = list(stream(model, [*answer.unread, *second], max_new_tokens=8, state=answer.state))
    assert fed.shapes[0] == (1, len(answer.unread) + 7), "nothing is read twice"
    assert on == list(stream(model, [*first, *said, *second], max_new_tokens=8))


def test_an_interrupted_stream_can_be_continued(monkeypatch):
    model, (prompt,) = model_of(plan="AMW"), prompts_of((9,))
    whole = list(stream(model, prompt, max_new_tokens=9))
    answer = stream(model, prompt, max_new_tokens=9)
    said = [next(answer) for _ in range(4)]
    with monkeypatch.context() as patch:  # Ctrl+C after the first layers have written into their caches
        patch.setattr(model.backbone.blocks[2], "forward", interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(answer)
    assert answer.tokens == said
    assert said + list(stream(model, answer.unread, max_new_tokens=5, state=answer.state)) == whole


def interrupt(*_args, **_kwargs):
    raise KeyboardInterrupt


def test_forked_streams_go_their_own_ways():
    model, (prompt, one, two) = model_of(plan="AW"), prompts_of((9, 4, 4))
    answer = stream(model, prompt, max_new_tokens=1)
    next(answer)
    fork = answer.state.fork()
    first = list(stream(model, [*answer.unread, *one], max_new_tokens=6, state=answer.state))
    second = list(stream(model, [*answer.unread, *two], max_new_tokens=6, state=fork))
    assert first == list(stream(model, [*prompt, *answer.tokens, *one], max_new_tokens=6))
    assert second == list(stream(model, [*prompt, *answer.tokens, *two], max_new_tokens=6))


def test_a_consumer_of_a_stream_may_compute_gradients():
    model, (prompt,) = model_of(), prompts_of((4,))
    next(stream(model, prompt, max_new_tokens=2))
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_sampled_answers_do_not_depend_on_company():
    model, prompts = model_of(), prompts_of()
    sampling = Sampling(temperature=1.5, top_p=0.9, repetition_penalty=1.2, seed=5)
    batch = generate(model, prompts, max_new_tokens=12, eos_ids=EOS, sampling=sampling)
    assert batch == generate_many(model, prompts, max_new_tokens=12, eos_ids=EOS, sampling=sampling, batch_rows=2)
    assert batch[0] == list(stream(model, prompts[0], max_new_tokens=12, eos_ids=EOS, sampling=sampling))
    assert batch != generate(model, prompts, max_new_tokens=12, eos_ids=EOS, sampling=sampling.replace(seed=6))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": [[1], []]}, r"input_ids\[1\]: is empty"),
        ({"input_ids": [[1, 259]]}, "holds 259, the vocabulary is 0 to 258"),
        ({"input_ids": [[-1]]}, "holds -1"),
        ({"input_ids": [[1]], "max_new_tokens": 0}, "max_new_tokens=0"),
        ({"input_ids": torch.ones(3, dtype=torch.long)}, "Expected 2 dimensions, got 1"),
        ({"input_ids": [[1]], "mask": torch.ones(1, 1, dtype=torch.bool)}, "mask: given with lists"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(tiny_model(), **{"max_new_tokens": 2, **arguments})


@PLANS
def test_merged_states_go_on_like_each_of_them(changes):
    model, prompts = model_of(**changes), prompts_of((2, 9, 30))
    pairs = [[prompt, prompts_of((len(prompt),), seed=5)[0]] for prompt in prompts]
    with torch.inference_mode():
        states = [model(torch.tensor(pair), state=model.init_state(2)).state for pair in pairs]
        both = merge(states)
        assert count_rows(both) == 6
        ids = torch.tensor([[3, 4]]).expand(6, -1)
        together = model(ids[:, 1:], state=model(ids[:, :1], state=both).state).logits[:, -1]
        for row, prompt in enumerate(prompt for pair in pairs for prompt in pair):
            alone = model(torch.tensor([[*prompt, 3, 4]]), last_only=True).logits[0, -1]
            torch.testing.assert_close(together[row], alone, atol=1e-9, rtol=1e-9)


def test_rows_that_are_taken_are_copies():
    model = model_of(plan="AW")
    with torch.inference_mode():
        state = model(torch.tensor([[1, 2, 3], [4, 5, 6]]), state=model.init_state(2)).state
        second = take_rows(state, torch.tensor([1]))
        model(torch.tensor([[7], [8]]), state=state)
        after = model(torch.tensor([[9]]), state=second).logits[0, 0]
        torch.testing.assert_close(after, model(torch.tensor([[4, 5, 6, 9]])).logits[0, -1])


def test_families_leave_a_token_of_each():
    assert families([[1, 2, 3], [1, 2, 4, 5], [1, 2, 3, 9]], 2) == [(2, [0, 2, 1])]
    assert families([[1, 2], [1, 2, 3]], 1) == [(1, [0, 1])]
    assert families([[1, 2], [1, 2, 3]], 2) == [(0, [0]), (0, [1])]
    assert families([[4, 4], [5], [4, 4]], 1) == [(1, [0, 2]), (0, [1])]
    assert families([], 1) == []


def test_batches_keep_to_their_bounds():
    lengths = [5, 5, 9, 1, 30, 1]
    assert list(batches(range(6), lengths, 20, 3)) == [[0, 1], [2, 3], [4], [5]]
    assert list(batches([3, 5, 0, 1], lengths, 100, 3)) == [[3, 5, 0], [1]]
    assert list(batches([], lengths, 20, 3)) == []
