"""The backbone's promises: three equal forms, ragged batches, an explicit state, causality."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from nexus.core import state_space
from nexus.core.base import ConfigError
from nexus.core.state_space import HybridConfig, HybridLM, LMState
from tests.numerics import (  # noqa: F401 - fixture
    ODD_LENGTHS,
    close,
    parameter_gradients,
    poisoned_memory,
    probe,
    randomise,
    same_gradients,
)

MIXED = {"plan": "MWMA", "window": 5}
LINEAR = {"plan": "MWMA", "window": 5, "attention_window": 7}
PLANS = {
    "A": {"plan": "A", "n_layers": 2},
    "A with a window": {"plan": "A", "n_layers": 2, "attention_window": 5},
    "A with a window, no sinks": {"plan": "A", "n_layers": 2, "attention_window": 5, "sinks": 0},
    "M": {"plan": "M", "n_layers": 2},
    "W without window": {"plan": "W", "n_layers": 2, "window": 0},
    "W of 1": {"plan": "W", "n_layers": 2, "window": 1},
    "W of 5": {"plan": "W", "n_layers": 2, "window": 5, "sinks": 0},
    "W and A of one width": {"plan": "WA", "n_layers": 2, "window": 5, "attention_window": 5},
    "gains": {"plan": "W", "n_layers": 2, "window": 5, "window_choices": (9, 5, 0)},
    "T as context": {"plan": "T", "n_layers": 2, "memory_mode": "context"},
    "T as gate": {"plan": "TM", "n_layers": 2, "memory_mode": "gate"},
    "T as layer": {"plan": "AT", "n_layers": 2, "memory_mode": "layer"},
    "mixed": MIXED,
    "linear": LINEAR,
}
ALL_PLANS = pytest.mark.parametrize("plan", PLANS)
VOCAB = 97


def build(dtype=torch.float64, **changes):
    model = HybridLM(HybridConfig.tiny(**changes)).to(dtype)
    randomise(model, 0.15)
    return model


def ids(rows, length):
    return torch.randint(0, VOCAB, (rows, length))


def feed(model, text, cuts, state=None):
    """Logits of a text given in pieces, and the state after it."""
    state, parts = model.init_state(len(text)) if state is None else state, []
    for part in text.split(cuts, dim=1):
        out = model(part, state=state)
        state = out.state
        parts.append(out.logits)
    return torch.cat(parts, dim=1), state


def random_cuts(length):
    cuts, left = [], length
    while left:
        cuts.append(int(torch.randint(1, left + 1, ())))
        left -= cuts[-1]
    return cuts


# ---- three equal forms ----------------------------------------------------------------------------------------------

LENGTHS = [(name, length) for name in ("mixed", "linear") for length in ODD_LENGTHS]
OTHERS = [(name, 33) for name in PLANS if name not in ("mixed", "linear")]


def check_three_forms(plan, length, dtype):
    model, text = build(dtype, **PLANS[plan]), ids(2, length)
    whole = model(text)
    assert whole.state is None
    used = torch.autograd.grad(whole.logits.sum(), list(model.parameters()), allow_unused=True, retain_graph=True)
    parameters = [p for p, gradient in zip(model.parameters(), used, strict=True) if gradient is not None]
    for cuts in ([length], [1] * length, random_cuts(length)):
        with torch.no_grad():  # caches are then written in place
            close(feed(model, text, cuts)[0], whole.logits)
        if len(cuts) <= (65 if plan == "mixed" else 33):  # many single steps with gradients take long
            logits, _ = feed(model, text, cuts)
            close(logits, whole.logits)
            same_gradients(logits, whole.logits, parameters)


@pytest.mark.parametrize(("plan", "length"), LENGTHS + OTHERS)
def test_parallel_chunked_and_recurrent_forms_agree(plan, length):
    check_three_forms(plan, length, torch.float64)


@pytest.mark.parametrize(("plan", "length"), [("mixed", 1), ("mixed", 127), ("linear", 65), ("W of 1", 63)])
def test_the_forms_agree_in_single_precision(plan, length):
    check_three_forms(plan, length, torch.float32)


@pytest.mark.parametrize("segment", [5, 64])
@pytest.mark.parametrize("plan", ["mixed", "linear", "A", "W of 1"])
def test_long_inputs_go_by_segments_and_give_the_same(plan, segment, monkeypatch):
    model, text, continuation = build(**PLANS[plan]), ids(2, 127), ids(2, 30)
    mask = torch.ones(2, 127, dtype=torch.bool)
    mask[1, :70] = False
    expected = model(text)  # with gradients nothing is cut up
    _, state = feed(model, text, [127])
    further = model(continuation, state=state)
    ragged = model(text, mask=mask).logits
    calls = []
    monkeypatch.setattr(state_space, "SEGMENT", segment)
    plain = state_space.HybridBackbone.scene
    monkeypatch.setattr(state_space.HybridBackbone, "scene", lambda *a: calls.append(a[1].shape[1]) or plain(*a))
    with torch.no_grad():
        close(model(text).logits, expected.logits)
        assert max(calls) == segment
        assert model(text).state is None
        logits, state = feed(model, text, [127])
        close(logits, expected.logits)
        close(model(continuation, state=state).logits, further.logits)
        close(model(text, mask=mask).logits[mask], ragged[mask])
        last, state = model(text, last_only=True), model(text, state=model.init_state(2), last_only=True).state
        assert last.hidden.shape == (2, 1, 32)
        close(last.logits, expected.logits[:, -1:])
        close(model(continuation, state=state).logits, further.logits)


def test_half_precision_stays_near():
    model, text = build(torch.float32, **MIXED).eval(), ids(2, 65)
    with torch.no_grad():
        exact = model(text).logits
        half, state = feed(model.bfloat16(), text, [60, 5])
        step = model(ids(2, 1), state=state).logits
    assert half.dtype == step.dtype == torch.bfloat16
    assert (half.float() - exact).norm() / exact.norm() < 0.05  # bfloat16 carries 8 bits


# ---- ragged batches -------------------------------------------------------------------------------------------------


def left_padded(rows, length):
    """Rows of ids as one batch with junk on the left, and its mask."""
    batch, mask = ids(len(rows), length), torch.zeros(len(rows), length, dtype=torch.bool)
    for i, row in enumerate(rows):
        if len(row):
            batch[i, -len(row) :], mask[i, -len(row) :] = row, True
    return batch, mask


def turns(*lengths):
    """For each turn of a dialogue one list of rows of the given lengths."""
    return [[ids(1, n)[0] for n in turn] for turn in lengths]


@ALL_PLANS
@pytest.mark.parametrize("grad", [False, True], ids=["in place", "with gradients"])
def test_padded_rows_equal_each_row_alone_over_many_turns(plan, grad):
    model = build(**PLANS[plan])
    dialogue = turns((1, 12, 4), (6, 1, 3), (0, 7, 2), (1, 1, 1), (2, 2, 2))
    with torch.set_grad_enabled(grad):
        state, alone = model.init_state(3), [model.init_state(1) for _ in range(3)]
        for rows in dialogue:
            batch, mask = left_padded(rows, max(map(len, rows)) + (len({len(r) for r in rows}) > 1))
            out = model(batch, state=state, mask=None if mask.all() else mask)
            state = out.state
            for i, row in enumerate(rows):
                if len(row):
                    single = model(row[None], state=alone[i])
                    alone[i] = single.state
                    close(out.logits[i, mask[i]], single.logits[0])


@ALL_PLANS
def test_padded_rows_without_a_state_equal_each_row_alone_with_gradients(plan):
    model = build(**PLANS[plan])
    (rows,) = turns((1, 12, 64))
    batch, mask = left_padded(rows, 65)
    together = model(batch, mask=mask).logits[mask]
    apart = torch.cat([model(row[None]).logits[0] for row in rows])
    close(together, apart)
    used = torch.autograd.grad(apart.sum(), list(model.parameters()), allow_unused=True, retain_graph=True)
    same_gradients(
        together, apart, [p for p, gradient in zip(model.parameters(), used, strict=True) if gradient is not None]
    )


def test_a_mask_without_padding_is_no_mask():
    model, text = build(**MIXED), ids(2, 9)
    assert torch.equal(model(text, mask=torch.ones(2, 9, dtype=torch.bool)).logits, model(text).logits)


def test_padding_on_the_right_is_refused():
    mask = torch.tensor([[True, True, False]])
    with pytest.raises(ValueError, match="put the padding on the left"):
        build(**MIXED)(ids(1, 3), mask=mask)


# ---- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", ["mixed", "linear", "gains"])
def test_every_parameter_gets_a_gradient(plan):
    model = build(**PLANS[plan])
    gradients = parameter_gradients(model, [model(ids(2, 9)).logits])
    idle = [name for name, gradient in gradients.items() if not gradient.any()]
    assert not idle


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("plan", ["mixed", "linear"])
def test_gradient_checkpointing_gives_equal_gradients(plan, with_state):
    model, text = build(**PLANS[plan]).train(), ids(2, 33)

    def gradients():
        logits = feed(model, text, [20, 13])[0] if with_state else model(text).logits
        return parameter_gradients(model, [logits])

    plain = gradients()
    model.backbone.gradient_checkpointing = True
    for name, gradient in gradients().items():
        close(gradient, plain[name])


def test_tiny_learns_to_repeat():
    model = HybridLM(HybridConfig.tiny())
    assert model.num_parameters() < 100_000
    optimiser, text = torch.optim.AdamW(model.parameters(), lr=1e-2), torch.tensor([[3, 14, 15, 92, 65] * 6] * 2)
    losses = []
    for _ in range(25):
        loss = F.cross_entropy(model(text[:, :-1]).logits.flatten(0, 1), text[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 4  # log(97) = 4.6
    assert losses[-1] < 0.5


# ---- causality ------------------------------------------------------------------------------------------------------


@ALL_PLANS
@pytest.mark.parametrize("at", [1, 30, 64])
def test_the_future_does_not_reach_back(plan, at):
    model, text = build(torch.float32, **PLANS[plan]), ids(2, 65)
    other = text.clone()
    other[:, at:] = (other[:, at:] + 1 + ids(2, 65 - at) % (VOCAB - 1)) % VOCAB
    assert (other[:, at:] != text[:, at:]).all()
    one, two = model(text).logits, model(other).logits
    assert torch.equal(one[:, :at], two[:, :at])
    assert (one[:, at:] != two[:, at:]).any(-1).all()


# ---- the state as a value -------------------------------------------------------------------------------------------


@ALL_PLANS
@torch.no_grad()
def test_forks_do_not_touch_each_other(plan):
    model, text = build(**PLANS[plan]), ids(1, 20)
    _, state = feed(model, text, [20])
    twin = state.fork()
    ways = [ids(1, 30), ids(1, 30)]
    states, logits = [state, twin], [[], []]
    for t in range(30):  # turn and turn about, so that shared memory would show
        for i in range(2):
            out = model(ways[i][:, t : t + 1], state=states[i])
            states[i] = out.state
            logits[i].append(out.logits)
    for i in range(2):
        expected = model(torch.cat((text, ways[i]), dim=1)).logits[:, 20:]
        close(torch.cat(logits[i], dim=1), expected)


@ALL_PLANS
@pytest.mark.parametrize("filled", [False, True], ids=["fresh", "filled"])
@torch.no_grad()
def test_a_saved_state_goes_on_as_if_nothing_had_happened(plan, filled, tmp_path):
    model, text = build(**PLANS[plan]), ids(2, 11)
    state = model.init_state(2)
    if filled:
        mask = torch.ones(2, 11, dtype=torch.bool)
        mask[1, :4] = False
        state = model(text, state=state, mask=mask).state
    restored = LMState.load(state.save(tmp_path / "state.safetensors"))
    assert restored.ragged == filled
    assert restored.nbytes() == state.nbytes()
    further = ids(2, 3)
    expected, expected_state = feed(model, further, [1, 2], state.fork())
    actual, actual_state = feed(model, further, [1, 2], restored)
    assert torch.equal(actual, expected)
    assert torch.equal(actual_state.next_position, expected_state.next_position)
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


@torch.no_grad()
def test_a_state_can_be_cut_into_rows():
    model, text, further = build(**MIXED), ids(3, 11), ids(1, 2)
    _, state = feed(model, text, [11])
    row = state.map(lambda t: t[-1:]).fork()
    close(model(further, state=row).logits, model(torch.cat((text[-1:], further), dim=1)).logits[:, 11:])


def test_what_is_not_a_saved_state_is_refused(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"junk")
    with pytest.raises(ValueError, match="not a saved state"):
        LMState.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="state version None, known: '1'; save it again"):
        LMState.load(path)
    save_file({"a": torch.zeros(1)}, path, {"nexus_state": json.dumps({"version": "2"})})
    with pytest.raises(ValueError, match="state version '2'"):
        LMState.load(path)


@torch.no_grad()
def test_a_linear_models_state_has_one_size():
    model = build(torch.float32, **LINEAR)
    empty = model.init_state(1).nbytes()
    sizes = {feed(model, ids(1, length), [length])[1].nbytes() for length in (1, 6, 40, 100)}
    assert sizes == {empty}


@torch.no_grad()
def test_a_linear_models_state_keeps_nothing_else_alive():
    model = build(torch.float32, **LINEAR)
    _, state = feed(model, ids(1, 100), [100])
    held = []
    state.map(lambda t: held.append(t.untyped_storage().nbytes()) or t)
    assert sum(held) == state.nbytes()


@torch.no_grad()
def test_full_attention_grows_by_its_keys_and_values():
    model = build(torch.float32, **MIXED)
    sizes = [feed(model, ids(1, length), [length])[1].nbytes() for length in (1, 2, 50, 100)]
    a_token = 2 * model.config.n_kv_heads * model.config.head_dim * 4 + 8  # keys, values, and one position
    assert [size - sizes[0] for size in sizes] == [0, a_token, 49 * a_token, 99 * a_token]


# ---- windows --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_window_can_be_changed_at_any_time():
    model, text = build(plan="W", n_layers=2, window=5, sinks=2), ids(1, 30)
    outputs = {}
    for width in (5, 29, 30, 1000, 0):
        model.set_window(width)
        outputs[width] = model(text).logits
        close(feed(model, text, [13, 1, 16])[0], outputs[width])
    assert torch.equal(outputs[30], outputs[1000]), "both see everything"
    close(outputs[30][:, :5], outputs[5][:, :5])
    assert not torch.allclose(outputs[30], outputs[5])
    assert not torch.allclose(outputs[0], outputs[5])


def test_a_state_of_another_window_is_refused():
    model = build(**MIXED)
    state = model(ids(1, 3), state=model.init_state(1)).state
    for width in (0, 6):
        model.set_window(width)
        with pytest.raises(ValueError, match=r"made with windows \[0, 5\]"):
            model(ids(1, 1), state=state)


def test_each_window_choice_has_gains_of_its_own():
    model, text = build(**PLANS["gains"]), ids(1, 20)
    for width, index in ((9, 0), (5, 1), (0, 2)):
        model.set_window(width)
        gradients = torch.autograd.grad(
            probe([model(text).logits]), [b.mixer.mamba_gain for b in model.backbone.blocks]
        )
        assert [g.nonzero().flatten().tolist() for g in gradients] == [[index], [index]]
    with pytest.raises(ValueError, match=r"window=7: the weights serve \(9, 5, 0\)"):
        model.set_window(7)


def test_a_negative_window_is_refused():
    with pytest.raises(ValueError, match="window=-1"):
        build(**MIXED).set_window(-1)


# ---- the rest -------------------------------------------------------------------------------------------------------


def test_outputs_belong_together():
    model, text = build(**MIXED), ids(2, 9)
    out = model(text)
    assert out.hidden.shape == (2, 9, 32)
    assert out.logits.shape == (2, 9, VOCAB)
    assert torch.equal(model.lm_head(out.hidden), out.logits)
    close(model(text, last_only=True).logits, out.logits[:, -1:])
    with pytest.raises(ValueError, match=r"pass \(batch, length\)"):
        model(text[0])


@pytest.mark.parametrize("tied", [False, True])
def test_models_save_and_load(tied, tmp_path):
    model, text = build(torch.float32, **MIXED, tie_embeddings=tied), ids(2, 9)
    again = HybridLM.load(model.save(tmp_path))
    assert (again.lm_head.weight is again.embed.weight) == tied
    assert torch.equal(again(text).logits, model(text).logits)


def test_all_faults_of_a_config_are_listed_at_once():
    with pytest.raises(ConfigError) as caught:
        HybridConfig(
            vocab_size=0, d_model=30, plan="MXA", n_heads=4, n_kv_heads=3, head_dim=7, sinks=-1, ssm_heads=5,
            ssm_groups=2, rotary_fraction=1.5, window=5, window_choices=(8,),
        )  # fmt: skip
    named = ["vocab_size", "sinks", "n_kv_heads", "ssm_groups", "window", "plan", "rotary_fraction", "head_dim"]
    lines = str(caught.value).splitlines()[1:]
    assert {line.split()[1] for line in lines} == set(named)
    assert "use A (attention), M (Mamba-2), W" in str(caught.value)


def test_sizes_left_out_are_derived():
    config = HybridConfig(d_model=96, n_heads=6, n_layers=10)
    assert (config.head_dim, config.n_kv_heads, config.d_ff, config.ssm_heads) == (16, 6, 256, 3)
    assert config.layers == "MMMMMMMAMM"
    assert HybridConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match=r"unknown key 'n_head'; did you mean 'n_heads'"):
        HybridConfig.from_dict({"n_head": 3})


def test_a_size_of_the_wrong_type_is_named():
    with pytest.raises(ConfigError, match="n_heads"):
        HybridConfig.tiny(n_heads="x")
