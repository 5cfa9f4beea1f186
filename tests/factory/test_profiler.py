"""The profiler finds what was planted, its short cuts change nothing, and its test of a circuit can fail."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from nexus.core.state_space import HybridConfig, HybridLM
from nexus_final.profiler import NIWTCore, ProfileConfig, best_placement, draw_profile, recommend_attention_layers
from nexus_final.profiling.circuit import Component, Groups, choose_circuit, honest_test, random_set, switched, verdict
from nexus_final.profiling.components import Calibration, calibrate, head_columns, switched_off
from nexus_final.profiling.probe import Probe
from nexus_final.profiling.spectrum import spectral_ranks
from nexus_final.profiling.windows import (
    attention_count,
    compare_placements,
    even_attention_layers,
    greedy_attention_layers,
    window_sensitivity,
)

HEADS = [(0, 2), (1, 5), (3, 0)]  # planted: layer, head
CHANNELS = {1: [3, 17, 40, 41, 50, 60, 61, 63], 2: [0, 1, 2, 9, 30, 31, 32, 33]}  # planted: layer, channels
SMALL = {
    "calibration_tokens": 192, "window_tokens": 64, "probe_tokens": 128, "test_tokens": 256, "window": 4,
    "compare_windows": (4, 8), "shortlist": 2, "group_size": 8, "heads_per_layer": 8, "spectrum_layers": 1,
    "circuit_share": 0.09,
}  # fmt: skip


def nothing(part: float) -> None:
    """A tick that nobody listens to."""


def tiny(n_layers: int = 4, **changes) -> HybridLM:
    sizes = {
        "plan": "A",
        "n_layers": n_layers,
        "d_model": 64,
        "n_heads": 8,
        "n_kv_heads": 4,
        "d_ff": 64,
        "tie_embeddings": False,
    }
    model = HybridLM(HybridConfig.tiny(**{**sizes, **changes})).eval()
    with torch.no_grad():
        model.embed.weight.mul_(20)
        model.lm_head.weight.mul_(4)  # so that what the model says is far from even
    return model


@torch.no_grad()
def text_of(model: HybridLM, rows: int, length: int, seed: int) -> Tensor:
    """Text drawn from the model itself: whatever shapes its distributions then lowers its loss."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(model.config.vocab_size, (rows, 1), generator=generator)
    state, step = model.init_state(rows), ids
    for _ in range(length - 1):
        out = model(step, state=state)
        state, step = out.state, torch.multinomial(out.logits[:, -1].softmax(-1), 1, generator=generator)
        ids = torch.cat((ids, step), dim=1)
    return ids


@pytest.fixture(scope="module")
def planted() -> HybridLM:
    torch.manual_seed(1)
    model = tiny()
    with torch.no_grad():
        for block in model.backbone.blocks:
            block.mixer.o_proj.weight.mul_(0.3)
            block.mlp.down_proj.weight.mul_(0.3)
        for layer, head in HEADS:
            model.backbone.blocks[layer].mixer.o_proj.weight[:, head_columns(model, [head])] *= 20
        for layer, channels in CHANNELS.items():
            model.backbone.blocks[layer].mlp.down_proj.weight[:, channels] *= 40
    return model


@pytest.fixture(scope="module")
def texts(planted) -> tuple[Tensor, Tensor]:
    return text_of(planted, 4, 64, seed=1), text_of(planted, 4, 64, seed=2)


@pytest.fixture(scope="module")
def groups(planted, texts) -> Groups:
    return Groups(planted, calibrate(Probe(planted, texts[0])), 8)


def auroc(scores: Tensor, positive: Tensor) -> float:
    """Share of pairs (planted, other) that are in the right order."""
    return (scores[positive][:, None] > scores[~positive]).float().mean().item()


def planted_heads() -> Tensor:
    truth = torch.zeros(4, 8, dtype=torch.bool)
    for place in HEADS:
        truth[place] = True
    return truth


# ---- running from a layer on ----------------------------------------------------------------------------------------


def test_a_full_pass_is_the_models_own(planted, texts):
    hidden = planted.backbone.norm(Probe(planted, texts[0]).start())
    torch.testing.assert_close(hidden, planted(texts[0]).hidden)


def test_windows_in_all_layers_are_the_models_own_attention_window(planted, texts):
    windowed = HybridLM(planted.config.replace(attention_window=5)).eval()
    windowed.load_state_dict(planted.state_dict())
    hidden = planted.backbone.norm(Probe(planted, texts[0]).start([5] * 4))
    torch.testing.assert_close(hidden, windowed(texts[0]).hidden)


@pytest.mark.parametrize("layer", range(4))
def test_recomputing_what_is_above_a_change_equals_a_full_pass(planted, texts, groups, layer):
    probe = Probe(planted, texts[0])
    probe.start()
    windows = [5 if i == layer else 0 for i in range(4)]
    columns = groups.columns({(layer, "attention"): [1], (layer, "mlp"): [3, 4]})
    with switched_off(planted, columns, groups.calibration.means) as lowest:
        assert lowest == layer
        partial = probe.resume(layer, windows)
        whole = Probe(planted, texts[0]).start(windows)
    torch.testing.assert_close(partial, whole, rtol=0, atol=0)
    assert not torch.equal(partial, probe.resume(layer, windows)), "the change must be undone when the block ends"


def test_loss_and_kl_are_the_plain_formulas(planted, texts):
    probe = Probe(planted, texts[0], first=3, stride=2)
    probe.keep_reference(probe.start())
    found = probe.measure(probe.start([4] * 4))
    scored = torch.arange(3, 63, 2)
    true = planted(texts[0]).logits[:, scored].log_softmax(-1)
    other = planted.lm_head(planted.backbone.norm(Probe(planted, texts[0]).start([4] * 4)))[:, scored].log_softmax(-1)
    targets = texts[0][:, scored + 1]
    assert found.kl == pytest.approx(
        torch.nn.functional.kl_div(other, true, log_target=True, reduction="none").sum(-1).mean().item(), rel=1e-4
    )
    assert found.loss == pytest.approx(
        torch.nn.functional.nll_loss(other.flatten(0, 1), targets.flatten()).item(), rel=1e-5
    )


# ---- scores ---------------------------------------------------------------------------------------------------------


def test_scores_are_the_size_of_what_a_component_adds_around_its_mean(planted, texts, groups):
    """Against the plain way: each head's and channel's contribution, token by token."""
    probe, seen = Probe(planted, texts[0]), {}
    block = planted.backbone.blocks[1]
    for name, linear in (("z", block.mixer.o_proj), ("a", block.mlp.down_proj)):
        linear.register_forward_pre_hook(
            lambda module, args, name=name: seen.__setitem__(name, args[0][:, 1:].flatten(0, 1))
        )
    probe.start()
    scale = probe.layer_inputs()[1][:, 1:].norm(dim=-1).median()
    for head in range(8):
        columns = head_columns(planted, [head])
        said = seen["z"][:, columns] @ block.mixer.o_proj.weight[:, columns].T
        size = (said - said.mean(0)).pow(2).sum(-1).mean().sqrt() / scale
        torch.testing.assert_close(groups.calibration.heads[1, head], size, rtol=1e-3, atol=1e-6)
    said = seen["a"][:, 17, None] * block.mlp.down_proj.weight[:, 17]
    size = (said - said.mean(0)).pow(2).sum(-1).mean().sqrt() / scale
    torch.testing.assert_close(groups.calibration.channels[1, 17], size, rtol=1e-3, atol=1e-6)


def test_planted_heads_are_found_by_score_and_by_switching_off(planted, texts, groups):
    probe = Probe(planted, texts[0])
    probe.keep_reference(probe.start())
    kl = torch.tensor(
        [[switched(probe, groups, {(i, "attention"): [h]}, nothing).kl for h in range(8)] for i in range(4)]
    )
    assert auroc(groups.calibration.heads, planted_heads()) >= 0.95
    assert auroc(kl, planted_heads()) >= 0.95


def test_planted_channels_are_found_and_make_the_first_group(groups):
    truth = torch.zeros(4, 64, dtype=torch.bool)
    for layer, channels in CHANNELS.items():
        truth[layer, channels] = True
        assert sorted(groups.units(Component(layer, "mlp", 0))) == channels
    assert auroc(groups.calibration.channels, truth) >= 0.95


def test_calibration_survives_a_file(tmp_path, groups):
    groups.calibration.save(tmp_path / "c.safetensors")
    back = Calibration.load(tmp_path / "c.safetensors", torch.device("cpu"))
    assert torch.equal(back.heads, groups.calibration.heads)
    assert back.means.keys() == groups.calibration.means.keys()
    assert all(torch.equal(back.means[site], mean) for site, mean in groups.calibration.means.items())


# ---- the circuit and its honest test --------------------------------------------------------------------------------


def test_the_planted_circuit_passes_and_shuffled_scores_fail(planted, texts, groups):
    circuit = [Component(layer, "attention", head) for layer, head in HEADS] + [
        Component(i, "mlp", 0) for i in CHANNELS
    ]
    found = honest_test(Probe(planted, texts[1]), groups, circuit, n_random=50, n_shuffles=5, seed=0, tick=nothing)
    assert found["passed"]
    assert found["circuit"]["ratio"] is None or found["circuit"]["ratio"] >= 5
    assert found["circuit"]["p_value"] < 0.02
    assert len(found["random"]["damage"]) == 50
    assert 0 < found["without_strongest"]["damage"] < found["circuit"]["damage"]
    assert not any(one["passed"] for one in found["shuffled"])


def test_a_circuit_of_idle_components_fails(planted, texts, groups):
    idle = [Component(0, "attention", 5), Component(2, "attention", 1), Component(1, "mlp", 7)]
    found = honest_test(Probe(planted, texts[1]), groups, idle, n_random=50, n_shuffles=1, seed=0, tick=nothing)
    assert not found["passed"]


@pytest.mark.parametrize(
    ("damage", "random", "passed", "ratio"),
    [
        (1.0, [0.1, 0.2, 0.3], True, 5.0),
        (0.9, [0.1, 0.2, 0.3], False, 4.5),
        (1.0, [0.1, 0.1, 2.0], False, 10.0),  # one random set hurts more
        (0.1, [-0.1, 0.0, 0.0], True, None),
        (-0.1, [-0.3, -0.2, -0.2], False, None),  # a circuit that helps when it is gone is none
    ],
)
def test_verdict(damage, random, passed, ratio):
    found = verdict(damage, random)
    assert found["passed"] is passed
    assert found["ratio"] == (None if ratio is None else pytest.approx(ratio))


def test_random_sets_match_the_circuit_in_size_layer_and_kind(groups):
    circuit = {(0, "attention"): [2], (2, "mlp"): [0, 1, 2, 9]}
    generator, seen = torch.Generator().manual_seed(0), set()
    for _ in range(200):
        drawn = random_set(groups, circuit, generator)
        assert {site: len(set(units)) for site, units in drawn.items()} == {(0, "attention"): 1, (2, "mlp"): 4}
        seen |= {(site, unit) for site, units in drawn.items() for unit in units}
    assert len(seen) == 8 + 64, "every head and channel of the layer gets its turn"


def test_the_circuit_takes_the_strongest_but_leaves_room_in_each_layer(groups):
    effects = {Component(0, "attention", i): 1.0 - i / 10 for i in range(8)} | {Component(3, "attention", 1): 0.01}
    effects |= {Component(layer, "mlp", 0): float(layer) for layer in range(4)}
    chosen = choose_circuit(groups, effects, share=0.06)  # 2 of 32 heads, 2 of 32 groups
    assert sorted(chosen) == [
        Component(0, "attention", 0),
        Component(2, "mlp", 0),
        Component(3, "attention", 1),
        Component(3, "mlp", 0),
    ]


# ---- windows and placement ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "count"), [(30, 4), (24, 3), (8, 1), (4, 1), (1, 1), (12, 2), (28, 4)])
def test_one_layer_in_eight_stays_attention(n, count):
    assert attention_count(n) == count
    assert len(set(even_attention_layers(n))) == count
    assert all(0 <= layer < n for layer in even_attention_layers(n))


def test_even_layers_are_the_default_plans():
    assert even_attention_layers(24) == (7, 15, 23)
    assert even_attention_layers(30) == (6, 13, 20, 27)


def test_recommended_are_the_most_sensitive_in_order():
    assert recommend_attention_layers(6, [0.1, 0.9, 0.2, 0.9, 0.3, 0.0], share=2) == (1, 3, 4)
    assert recommend_attention_layers(3, [0.0, 0.0, 0.0]) == (0,)


@pytest.mark.parametrize(("values", "share", "field"), [([0.1], 8, "sensitivities"), ([0.1] * 3, 0, "share")])
def test_a_recommendation_refuses_what_makes_no_sense(values, share, field):
    with pytest.raises(ValueError, match=field):
        recommend_attention_layers(3, values, share)


def test_the_layer_that_sees_far_is_found():
    """Only one layer's attention says anything, so only its window can matter, and opening it wins everything back."""
    model = tiny()
    with torch.no_grad():
        for layer in (0, 1, 3):
            model.backbone.blocks[layer].mixer.o_proj.weight.zero_()
        model.backbone.blocks[2].mixer.o_proj.weight.mul_(20)
    probe = Probe(model, text_of(model, 1, 64, seed=3), first=8, stride=2)
    sensitivity = window_sensitivity(probe, 4, nothing)
    assert sensitivity[2] > 1e-3
    assert max(sensitivity[:2] + sensitivity[3:]) < 1e-6
    chosen, rounds = greedy_attention_layers(probe, 4, 1, 2, nothing)
    assert chosen == (2,)
    assert rounds[0]["gain"]["2"] == pytest.approx(rounds[0]["kl_before"], rel=1e-3)
    rows = compare_placements(probe, {"found": chosen, "other": (0,)}, (4,), nothing)
    assert best_placement(rows) == "found"
    assert rows[0]["ratio"] == 1.0


def test_layers_chosen_together_need_not_be_the_best_alone(planted, texts):
    """The second round starts from the first choice: its 'before' is what the first choice left."""
    probe = Probe(planted, texts[0], first=8)
    probe.keep_reference(probe.start())
    chosen, rounds = greedy_attention_layers(probe, 4, 2, 4, nothing)
    assert len(chosen) == 2
    first = rounds[0]["chosen"]
    assert rounds[1]["kl_before"] == pytest.approx(rounds[0]["kl_before"] - rounds[0]["gain"][str(first)], abs=1e-6)
    assert str(first) not in rounds[1]["gain"]


# ---- ranks ----------------------------------------------------------------------------------------------------------


def test_ranks_of_known_matrices():
    flat = spectral_ranks(torch.eye(16))
    assert flat["full_rank"] == flat["rank_99"] == 16
    assert flat["stable_rank"] == pytest.approx(flat["effective_rank"]) == pytest.approx(16)
    thin = spectral_ranks(torch.outer(torch.arange(1.0, 9), torch.arange(1.0, 13)))
    assert thin["rank_99"] == 1
    assert thin["stable_rank"] == pytest.approx(1)
    assert thin["effective_rank"] == pytest.approx(1, abs=1e-6)


# ---- all of it ------------------------------------------------------------------------------------------------------


class StopAfter:
    """Says stop at its n-th question."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def core_of(model: HybridLM, texts: tuple[Tensor, Tensor], **changes) -> NIWTCore:
    return NIWTCore(model, *texts, ProfileConfig(**{**SMALL, **changes}))


def without_times(result: dict) -> dict:
    return {name: value for name, value in result.items() if name != "seconds"}


@pytest.fixture(scope="module")
def result(planted, texts, tmp_path_factory) -> dict:
    return core_of(planted, texts).run(tmp_path_factory.mktemp("profile"))


def test_a_run_reports_the_planted_circuit_and_it_passes(result):
    assert result["circuit"]["test"]["passed"]
    assert result["circuit"]["heads"] == [list(place) for place in HEADS]
    assert {layer for layer, group in result["circuit"]["mlp_groups"] if group == 0} >= CHANNELS.keys()
    assert result["attention_layers"]["recommended"] == result["attention_layers"][result["attention_layers"]["method"]]


def test_a_stopped_run_goes_on_and_ends_the_same(planted, texts, tmp_path, result):
    for questions in (0, 7, 30, 60):
        with pytest.raises(KeyboardInterrupt):
            core_of(planted, texts).run(tmp_path, control=StopAfter(questions))
    begun = {path: path.stat().st_mtime_ns for path in (tmp_path / "steps").iterdir()}
    assert begun, "some steps were finished"
    assert not (tmp_path / "profile.json").exists()
    resumed = core_of(planted, texts).run(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in begun} == begun, "what was finished isn't measured again"
    assert without_times(resumed) == without_times(result)
    assert json.loads((tmp_path / "profile.json").read_text()) == resumed


def test_another_setting_or_model_is_measured_anew(planted, texts, tmp_path, result):
    core_of(planted, texts, random_sets=2, shuffles=1).run(tmp_path)
    other = tiny()
    changed = core_of(other, texts, random_sets=2, shuffles=1).run(tmp_path)
    assert changed["key"] != result["key"]
    assert changed["heads"]["score"] != result["heads"]["score"]
    assert len(list((tmp_path / "steps").glob("calibration-*.safetensors"))) == 1


def test_progress_adds_up_to_the_cost_fresh_and_resumed(planted, texts, tmp_path):
    core = core_of(planted, texts, random_sets=3, shuffles=1)
    for _ in range(2):
        told: list[tuple[float, str]] = []
        core.run(tmp_path, advance=lambda amount, step, told=told: told.append((amount, step)))
        assert sum(amount for amount, _ in told) == pytest.approx(sum(core.costs().values()))
        assert {step for _, step in told} <= core.costs().keys()


def test_quick_costs_less_than_a_third_and_needs_no_greedy_round(planted, texts, tmp_path):
    full, quick = (config.costs(30, {"calibration": config.calibration_tokens, "window": config.window_tokens,
                   "probe": config.probe_tokens, "compare": config.window_tokens, "test": config.test_tokens})
                   for config in (ProfileConfig(), ProfileConfig.quick()))  # fmt: skip
    assert sum(quick.values()) < sum(full.values()) / 3
    found = core_of(planted, texts, shortlist=0, random_sets=2, shuffles=1).run(tmp_path)
    assert "greedy" not in found["attention_layers"]


def test_the_picture_is_drawn(result, tmp_path):
    path = draw_profile(result, tmp_path / "profile.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_other_plans_and_no_text_are_refused(texts):
    with pytest.raises(ValueError, match="plan='MAMA'"):
        NIWTCore(HybridLM(HybridConfig.tiny(plan="MA")), *texts)
    with pytest.raises(ValueError, match="heldout"):
        NIWTCore(tiny(), texts[0], texts[1][:0])


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="probe_tokens"):
        ProfileConfig.from_dict({"prob_tokens": 3})
    with pytest.raises(ValueError, match="circuit_share"):
        ProfileConfig(circuit_share=0.5)
