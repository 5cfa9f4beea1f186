"""The mind as a whole: one path in time, states that go on, answers of every kind, and messages that teach."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from nexus.core.base import ConfigError
from nexus.core.nexus_core import NEXUSConfig, NEXUSCore
from tests.numerics import close, poisoned_memory, randomise  # noqa: F401 - fixture

VOCAB = 97


def build(**changes):
    model = NEXUSCore(NEXUSConfig.tiny(**changes)).eval()
    randomise(model.language, 0.1)
    return model


def ids(rows=2, length=13):
    return torch.randint(0, VOCAB, (rows, length))


# ---- in time --------------------------------------------------------------------------------------------------------

MODES = pytest.mark.parametrize("mode", ["context", "gate", "layer"])


@MODES
def test_the_future_changes_nothing_before_it_in_any_part(mode):
    model, text = build(memory_mode=mode), ids(1, 17)
    changed = text.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % VOCAB
    with torch.no_grad():
        (one, info), (other, otherwise) = (model(x, return_all_outputs=True) for x in (text, changed))
    pairs = {
        "logits": (one["logits"], other["logits"]),
        "refined": (info["refined"], otherwise["refined"]),
        "steps": (info["energy_info"]["per_unit"], otherwise["energy_info"]["per_unit"]),
        "reasoned": (info["reasoned"], otherwise["reasoned"]),
        **{name: (info["world"][name], otherwise["world"][name]) for name in info["world"]},
        "memory": (model.memory_surprise(text)[0], model.memory_surprise(changed)[0]),
        "causal": (model.causal(one["hidden"]).detach(), model.causal(other["hidden"]).detach()),
        "do": tuple(model.causal(each["hidden"], do={1: 2.0}).detach() for each in (one, other)),
    }
    for name, (ours, theirs) in pairs.items():
        assert torch.equal(ours[:, :9], theirs[:, :9]), name
    assert not torch.equal(one["logits"][:, 9], other["logits"][:, 9])


@MODES
def test_a_text_in_pieces_is_the_text_as_a_whole(mode, tmp_path):
    model, text = build(memory_mode=mode).double(), ids(2, 23)
    whole, state, parts = model(text)["logits"], model.init_state(2), []
    for part in text.split([5, 1, 9, 8], dim=1):
        output = model(part, state=state)
        state = type(state).load(output["state"].save(tmp_path / "state.safetensors"))  # saved and read back on the way
        parts.append(output["logits"])
    close(torch.cat(parts, 1), whole)
    assert "state" not in model(text)


def test_long_texts_without_gradients_go_in_segments_and_give_the_same():
    model, text = build().double(), ids(1, 600)
    with torch.no_grad():
        segments, surprise = model(text)["logits"], model.memory_surprise(text)
    close(segments, model(text)["logits"].detach())
    assert surprise.shape == (1, 1, 600)


def test_memory_layers_are_put_in_evenly_and_can_be_left_out():
    assert NEXUSConfig(ssm_n_layers=8).layers == "MMMMTMMMA"
    assert NEXUSConfig(ssm_n_layers=8, memory_layers=0).layers == "MMMMMMMA"
    assert NEXUSConfig(ssm_n_layers=6, memory_layers=2, plan="M").layers == "MMTMMTMM"
    with pytest.raises(ValueError, match="memory_layers"):
        build(memory_layers=0).memory_surprise(ids())


# ---- learning -------------------------------------------------------------------------------------------------------


def test_every_parameter_that_learns_gets_a_gradient():
    model = build().train()
    losses = model.loss(ids())
    losses["total"].backward()
    lacking = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert lacking == []
    assert all(p.grad is None for p in model.world_model.target.parameters())


def test_other_parts_do_not_pull_at_the_language_path():
    model = build()
    losses = model.loss(ids())
    parts = sum(value for name, value in losses.items() if name not in ("language", "total"))
    path = list(model.state_space.parameters())
    assert all(g is None for g in torch.autograd.grad(parts, path, allow_unused=True))
    helped = build(world_weight=0.5)
    pulled = torch.autograd.grad(helped.loss(ids())["world"], list(helped.state_space.parameters()), allow_unused=True)
    assert any(g is not None for g in pulled)


def test_it_learns_a_small_text_by_heart():
    model, text = build().train(), ids(2, 16)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        losses = model.loss(text)
        losses["total"].backward()
        optimiser.step()
        model.world_model.update_target()
    assert losses["language"] < 0.5 < 4 < torch.log(torch.tensor(float(VOCAB)))


def test_gradient_checkpointing_gives_the_same_gradients():
    model, text = build().train(), ids()
    path = list(model.state_space.parameters())
    plain = torch.autograd.grad(model(text)["logits"].square().sum(), path)
    model.state_space.gradient_checkpointing = True
    again = torch.autograd.grad(model(text)["logits"].square().sum(), path)
    for one, other in zip(plain, again, strict=True):
        close(one, other, 1e-4)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's tracer does so itself
@pytest.mark.parametrize(
    "mode", ["gate", pytest.param("context", marks=pytest.mark.slow), pytest.param("layer", marks=pytest.mark.slow)]
)
def test_the_language_path_compiles_without_a_break(mode):
    model, text = build(memory_mode=mode, ssm_n_layers=2, plan="MA"), ids(1, 6)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    close(compiled(text)["logits"], model(text)["logits"], 1e-4)


# ---- saving ---------------------------------------------------------------------------------------------------------


def test_saved_and_loaded_it_is_the_same(tmp_path):
    model, text = build(), ids()
    again = NEXUSCore.load(model.save(tmp_path))
    assert torch.equal(again(text)["logits"], model(text)["logits"])
    header = json.loads((tmp_path / "config.json").read_text())
    header["format_version"] = 0
    (tmp_path / "config.json").write_text(json.dumps(header))
    with pytest.raises(ValueError, match="format_version = 0 is unknown"):
        NEXUSCore.load(tmp_path)


@pytest.mark.parametrize("name", ["small", "base", "large"])
def test_presets_build(name):
    with torch.device("meta"):
        model = NEXUSCore(NEXUSConfig.preset(name))
    low, high = {"small": (1e7, 5e7), "base": (1e8, 5e8), "large": (7e8, 2e9)}[name]
    assert low < model.num_parameters() < high


# ---- speaking -------------------------------------------------------------------------------------------------------


def talker():
    model = build()
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    model.tokenizer = tokenizer
    return model


def test_an_answer_is_of_the_kind_of_its_prompt():
    model, text = talker(), ids(2, 5)
    wanted = model.generate(text, do_sample=False, max_new_tokens=4)
    assert wanted.shape == (2, 4)
    assert model.generate(text.tolist(), do_sample=False, max_new_tokens=4) == wanted.tolist()
    assert torch.equal(model.generate(text[0], do_sample=False, max_new_tokens=4), wanted[0])
    assert model.generate(text[0].tolist(), do_sample=False, max_new_tokens=4) == wanted[0].tolist()
    words = " ".join(f"w{i}" for i in text[0].tolist())
    said = " ".join(f"w{i}" for i in wanted[0].tolist())
    assert model.generate(words, do_sample=False, max_new_tokens=4) == said
    assert model.generate([words], do_sample=False, max_new_tokens=4) == [said]


def test_a_stream_gives_the_pieces_of_the_answer():
    model, text = talker(), ids(1, 5)
    options = {"do_sample": False, "max_new_tokens": 6}
    assert list(model.generate(text, stream=True, **options)) == model.generate(text, **options)[0].tolist()
    assert "".join(model.generate("w1 w2", stream=True, **options)) == model.generate("w1 w2", **options)
    with pytest.raises(ValueError, match="one at a time"):
        model.generate(ids(2, 5), stream=True)


def test_a_stop_string_ends_the_answer_before_itself():
    model = talker()
    full = model.generate("w1 w2", do_sample=False, max_new_tokens=8)
    third = full.split(" ")[2]
    end = full.index(f" {third}")
    for stop in (f" {third}", ["never", f" {third}"]):
        cut = model.generate("w1 w2", do_sample=False, max_new_tokens=8, stop=stop)
        assert cut == full[:end]
        assert "".join(model.generate("w1 w2", do_sample=False, max_new_tokens=8, stop=stop, stream=True)) == cut
    held = model.generate("w1 w2", do_sample=False, max_new_tokens=8, stop=f"{full}!", stream=True)
    assert "".join(held) == full  # what might have become a stop string, and did not, is said after all
    with pytest.raises(ValueError, match="stop"):
        model.generate("w1", stop="")


def test_an_end_id_ends_a_row_and_the_rest_is_filled_up():
    model, text = build(), ids(3, 5)
    full = model.generate(text, do_sample=False, max_new_tokens=6)
    end = int(full[0, 2])
    cut = model.generate(text, do_sample=False, max_new_tokens=6, eos_ids=[end])
    first = full[0].tolist().index(end)
    assert torch.equal(cut[0, : first + 1], full[0, : first + 1])
    assert cut[0, first:].eq(end).all()


def test_seeds_make_chance_repeatable_and_a_penalty_changes_the_answer():
    model, text = build(), ids(1, 8)
    draw = [model.generate(text, seed=seed, max_new_tokens=12, min_p=0.01) for seed in (1, 1, 2)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    penalised = model.generate(text, do_sample=False, repetition_penalty=50.0, max_new_tokens=12)
    assert len(set(penalised[0].tolist())) == 12


def test_with_the_cache_on_a_chat_is_read_from_where_it_stopped():
    model, seen = talker(), []
    prompt = ids(1, 20)[0].tolist()
    plain = model.generate(prompt, do_sample=False, max_new_tokens=5)
    longer = [*prompt, *plain, 7, 8]
    wanted = model.generate(longer, do_sample=False, max_new_tokens=5)
    model.enable_kv_cache()
    assert model.generate(prompt, do_sample=False, max_new_tokens=5) == plain
    model.language.embed.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    assert model.generate(longer, do_sample=False, max_new_tokens=5) == wanted
    assert seen[0] == 3  # the last token said, which was not read yet, and the two new ones
    model.state_space.reset_state()
    assert model.state_space.kept is None
    seen.clear()
    assert model.generate(longer, do_sample=False, max_new_tokens=5) == wanted
    assert seen[0] == len(longer)


@MODES
def test_rows_of_different_length_are_answered_as_alone(mode):
    model = build(memory_mode=mode)
    prompts = [ids(1, n)[0].tolist() for n in (3, 9, 6)]
    together = model.generate(prompts, do_sample=False, max_new_tokens=9)
    assert together == [model.generate(prompt, do_sample=False, max_new_tokens=9) for prompt in prompts]


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (torch.zeros(3, dtype=torch.long), "2 dimensions"),
        (torch.zeros(1, 3, 4), "width 32"),
        (torch.zeros(1, 3, dtype=torch.bool), "torch.long"),
        (torch.full((1, 3), VOCAB), "the id 97, the vocabulary is 0 to 96"),
        (torch.full((1, 3), -1), "the id -1"),
        (torch.full((1, 3, 32), float("nan")), "NaN"),
        (torch.zeros(1, 0, dtype=torch.long), "empty"),
    ],
)
def test_inputs_that_cannot_be_read_are_named(inputs, words):
    with pytest.raises(ValueError, match=words):
        build()(inputs)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1.0}, "temperature = -1.0 is out of range"),
        ({"top_k": -3}, "top_k"),
        ({"top_p": 1.5, "do_sample": False}, "top_p"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"stop": "w1"}, "tokenizer"),
    ],
)
def test_options_that_make_no_sense_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        build().generate(ids(), **options)
    with pytest.raises(ValueError, match="empty"):
        build().generate([])


def test_wrong_configurations_name_part_field_and_cure():
    with pytest.raises(ConfigError, match="did you mean 'd_model'"):
        NEXUSConfig.from_dict({"d_modle": 64})
    with pytest.raises(ConfigError) as caught:
        NEXUSConfig(d_model=30, n_heads=4, convergence_threshold=-1.0)
    assert {line.split(":")[0] for line in caught.value.faults} >= {"state_space", "energy"}
    with pytest.raises(ConfigError, match="preset = 'huge'"):
        NEXUSConfig.preset("huge")
    with pytest.raises(ConfigError, match="leave 'T' out"):
        NEXUSConfig.tiny(plan="MT")


# ---- the FAQ --------------------------------------------------------------------------------------------------------


def test_the_diagnostic_script_and_the_estimate_run_as_printed(capsys):
    def diagnose_nexus(model, sample_input):
        print("=== NEXUS Diagnostics ===\n")
        print(f"Total parameters: {sum(p.numel() for p in model.parameters()):,}")
        output = model(sample_input)
        print(f"  Output shape: {output['logits'].shape}")
        output, info = model(sample_input, return_all_outputs=True)
        print(f"  Energy iterations: {info['energy_info']['iterations']}")

    def estimate_memory(model, batch_size, seq_length):
        params = sum(p.numel() * p.element_size() for p in model.parameters())
        activations = batch_size * seq_length * model.config.d_model * 4
        print(f"Total (estimate): {(params + activations) / 1024**2:.1f} MB")

    model = build()
    diagnose_nexus(model, torch.randn(1, 100, model.config.d_model))
    estimate_memory(model, 8, 1024)
    out = capsys.readouterr().out
    assert "torch.Size([1, 100, 97])" in out
    assert "Energy iterations" in out
    assert "MB" in out
