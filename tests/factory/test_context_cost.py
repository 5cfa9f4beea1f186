"""The cost of context, on real tiny models: what grows, what must not, and that an extended state is a state."""

from __future__ import annotations

import pytest
import torch

from nexus.core.state_space import HybridConfig, HybridLM
from nexus_final.context_cost import extend_state, measure_context, state_bytes

LENGTHS = (16, 32, 64, 128)


def tiny(plan: str, **changes: object) -> HybridLM:
    return HybridLM(HybridConfig.tiny(plan=plan, **changes)).eval()


def rows(model: HybridLM, **options) -> list[dict]:
    return measure_context({"it": model}, LENGTHS, prefill_up_to=32, steps=2, **options)["models"]["it"]["rows"]


def test_attention_grows_linearly_and_the_rest_not_at_all():
    found = rows(tiny("WWMA"))
    cache = 2 * 2 * 8 * 4 + 8  # keys and values of two heads of 8 channels in float32, and the position
    assert [row["bytes_attention"] for row in found] == [cache * n for n in LENGTHS]
    assert len({row["bytes_other"] for row in found}) == 1
    assert found[0]["bytes_other"] > 0
    assert all(row["bytes"] == row["bytes_attention"] + row["bytes_other"] for row in found)


def test_a_windowed_attention_does_not_grow_either():
    found = rows(tiny("WMMA", attention_window=6))
    assert len({row["bytes"] for row in found}) == 1


def test_without_attention_layers_all_bytes_are_the_others():
    found = rows(tiny("WM"))
    assert {row["bytes_attention"] for row in found} == {0}
    assert len({row["bytes"] for row in found}) == 1


@pytest.mark.parametrize("plan", ["A", "WMA"])
def test_bytes_of_an_extended_state_are_those_of_a_real_one(plan):
    model = tiny(plan)
    real = measure_context({"it": model}, LENGTHS, prefill_up_to=128, steps=1)["models"]["it"]["rows"]
    extended = rows(model)
    assert [row["bytes"] for row in real] == [row["bytes"] for row in extended]
    assert [row["prefilled"] for row in real] == [True] * 4
    assert [row["prefilled"] for row in extended] == [True, True, False, False]
    assert [row["prefill_seconds_per_token"] is None for row in extended] == [False, False, True, True]
    assert all(row["decode_seconds"] > 0 for row in extended)


@torch.inference_mode()
def test_an_extended_state_goes_on_at_the_right_positions():
    model, ids = tiny("WMA"), torch.randint(0, 97, (1, 40))
    before = model(ids[:, :30], state=model.init_state(1)).state
    real = model(ids[:, 30:], state=before.fork()).state
    extended = extend_state(model, before, 10)
    assert torch.equal(extended.next_position, real.next_position)
    assert extended.seen.keys() == real.seen.keys()
    assert all(torch.equal(extended.seen[w], real.seen[w]) for w in real.seen)
    assert state_bytes(model, extended) == state_bytes(model, real)
    assert model(ids[:, :1], state=extended).logits.isfinite().all()


@torch.inference_mode()
def test_extending_leaves_the_state_as_it_was():
    model, ids = tiny("WMA"), torch.randint(0, 97, (1, 20))
    state = model(ids, state=model.init_state(1)).state
    kept = state.fork()
    model(ids[:, :1], state=extend_state(model, state, 7))
    after, expected = (model(ids[:, :3], state=s).logits for s in (state, kept))
    assert torch.equal(after, expected)


def test_the_check_ends_it_and_the_mode_comes_back():
    model = tiny("WA").train()

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows(model, check=stop)
    rows(model)
    assert model.training


@pytest.mark.parametrize(("lengths", "steps"), [((), 1), ((0, 4), 1), ((4,), 0)])
def test_bad_arguments_are_named(lengths, steps):
    with pytest.raises(ValueError, match=r"lengths=|steps="):
        measure_context({}, lengths, steps=steps)
