"""The calls to the mind that users were promised: `NEXUSCore`, its parts, and what the FAQ does with them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn


def _mind(**changes: Any) -> Any:
    from nexus.core.nexus_core import NEXUSConfig, NEXUSCore

    torch.manual_seed(0)
    return NEXUSCore(NEXUSConfig.tiny().replace(**changes)).eval()


def _ids(model: Any, length: int = 12, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, model.config.vocab_size, (batch, length), generator=generator)


def test_both_paths_lead_to_one_core():
    import nexus.core
    from nexus.core.nexus_core import NEXUSConfig, NEXUSCore

    assert nexus.core.NEXUSCore is NEXUSCore
    assert nexus.core.NEXUSConfig is NEXUSConfig


def test_the_config_is_made_as_printed_and_depth_is_ssm_n_layers():
    from nexus.core.nexus_core import NEXUSConfig

    config = NEXUSConfig(vocab_size=32000, d_model=256)
    assert (config.vocab_size, config.d_model) == (32000, 256)
    shallow, deep = _mind(ssm_n_layers=1), _mind(ssm_n_layers=2)
    assert sum(p.numel() for p in deep.parameters()) > sum(p.numel() for p in shallow.parameters())


@pytest.mark.parametrize("kind", ["ids", "features"])
def test_a_call_with_ids_or_float_features_gives_logits(kind):
    model = _mind()
    ids = _ids(model)
    inputs = ids if kind == "ids" else torch.randn(*ids.shape, model.config.d_model)
    assert model(inputs)["logits"].shape == (*ids.shape, model.config.vocab_size)


def test_return_all_outputs_tells_the_energy_iterations():
    model = _mind()
    output, info = model(_ids(model), return_all_outputs=True)
    assert output["logits"].isfinite().all()
    assert info["energy_info"]["iterations"] >= 1


def test_greedy_generation_is_repeatable_whatever_the_sampling_options():
    model = _mind()
    prompt = _ids(model, batch=1)
    first = model.generate(prompt, do_sample=False)
    torch.manual_seed(99)
    again = model.generate(prompt, do_sample=False, temperature=0.7, top_k=40, top_p=0.95)
    assert torch.equal(first, again)


def test_sampling_options_narrow_what_is_drawn():
    model = _mind()
    prompt = _ids(model, batch=1)
    greedy = model.generate(prompt, do_sample=False)
    assert torch.equal(model.generate(prompt, do_sample=True, top_k=1), greedy)
    assert torch.equal(model.generate(prompt, do_sample=True, top_p=1e-6), greedy)
    assert torch.equal(model.generate(prompt, do_sample=True, temperature=1e-6), greedy)


def test_generate_takes_a_batch_and_each_row_is_as_alone():
    model = _mind()
    prompts = _ids(model, batch=2)
    together = model.generate(prompts, do_sample=False)
    assert torch.equal(together[1], model.generate(prompts[1:], do_sample=False)[0])


def test_generate_takes_text_once_a_tokenizer_is_attached():
    from tokenizers import Tokenizer, models, pre_tokenizers

    model = _mind()
    vocabulary = {f"w{i}": i for i in range(model.config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ValueError, match="tokenizer"):
        model.generate("w1 w2", do_sample=False)
    model.tokenizer = tokenizer
    answers = model.generate(["w1 w2", "w3"], do_sample=False)
    assert [type(answer) for answer in answers] == [str, str]
    assert model.generate("w1 w2", do_sample=False) == answers[0]


def test_enable_kv_cache_changes_the_speed_and_not_the_answer():
    model = _mind()
    prompt = _ids(model)
    before = model.generate(prompt, do_sample=False)
    model.enable_kv_cache()
    assert torch.equal(model.generate(prompt, do_sample=False), before)


def test_state_space_switches():
    model = _mind()
    ids, wanted = _ids(model), _mind()(_ids(model))["logits"]
    for switch, value in (("gradient_checkpointing", True), ("use_parallel_scan", True), ("use_parallel_scan", False)):
        setattr(model.state_space, switch, value)
        torch.testing.assert_close(model.train()(ids)["logits"], wanted, atol=1e-4, rtol=1e-4)
    model.state_space.reset_state()
    torch.testing.assert_close(model(ids)["logits"], wanted, atol=1e-4, rtol=1e-4)


def test_world_model_target_follows_and_horizon_can_be_set():
    world = _mind().world_model
    before = [p.clone() for p in world.parameters()]
    with torch.no_grad():
        for parameter in world.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    shifted = [p.clone() for p in world.parameters()]
    world.update_target()
    moved = [not torch.equal(a, b) for a, b in zip(shifted, world.parameters(), strict=True)]
    assert any(moved), "update_target() moved nothing"
    assert len(before) == len(moved)
    world.prediction_horizon = 5
    assert world.prediction_horizon == 5


def test_reasoner_returns_a_proof_and_obeys_max_steps():
    model = _mind()
    model.reasoner.max_steps = 10
    output, proof = model.reasoner(torch.randn(1, 4, model.config.d_model), return_proof=True)
    assert output.shape[-1] == model.config.d_model
    assert 0 <= len(proof["steps"]) <= 10


def test_energy_thresholds_set_how_long_it_thinks():
    model = _mind()

    def iterations() -> float:
        return float(torch.as_tensor(model(_ids(model), return_all_outputs=True)[1]["energy_info"]["iterations"]))

    model.energy.convergence_threshold, model.energy.confidence_threshold = 1e9, 0.0
    early = iterations()
    model.energy.convergence_threshold, model.energy.confidence_threshold = 0.0, 1.0
    assert iterations() > early


def test_the_causal_engine_has_two_names_and_its_weights():
    from nexus.core.causal import CausalInferenceEngine

    model = _mind()
    assert model.causal_engine is model.causal
    model.causal.dag_weight, model.causal.sparsity_weight = 10.0, 0.1
    model.causal_engine = CausalInferenceEngine(model.config.get_causal_config())
    assert model.causal is model.causal_engine


def test_a_graph_with_a_cycle_is_refused_in_the_promised_words():
    from nexus.core.causal import CausalInferenceEngine

    engine = CausalInferenceEngine(_mind().config.get_causal_config())
    cycle = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises((ValueError, AssertionError), match="Causal graph is not DAG"):
        engine.set_graph(cycle)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's tracer does so itself
def test_torch_compile_gives_the_same_logits():
    model = _mind()
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(_ids(model))["logits"], model(_ids(model))["logits"], atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions.*:UserWarning")
def test_dynamic_int8_quantisation_of_its_linears():
    from torch.ao.quantization import quantize_dynamic

    model = _mind()
    small = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert any("quantized" in type(module).__module__ for module in small.modules())
    assert small(_ids(model))["logits"].shape == model(_ids(model))["logits"].shape


def test_the_profiler_sees_it():
    model = _mind()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        model(_ids(model))
    assert "aten::" in profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=10)


def test_the_diagnostic_runs_on_float_features_with_all_its_lines():
    from nexus.core.nexus_core import NEXUSConfig, NEXUSCore

    config = NEXUSConfig(vocab_size=32000, d_model=256)
    model = NEXUSCore(config).to("cuda" if torch.cuda.is_available() else "cpu")
    sample = torch.randn(1, 100, config.d_model, device=next(model.parameters()).device)
    assert model(sample)["logits"].shape == (1, 100, 32000)
    assert "iterations" in model(sample, return_all_outputs=True)[1]["energy_info"]
    # and the estimate of memory: bytes of the parameters, and one float for each feature
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    assert parameters + 1 * 100 * model.config.d_model * 4 > 0


def test_debug_logging_shows_what_the_system_does(caplog):
    model = _mind()
    with caplog.at_level(logging.DEBUG, logger="nexus"):
        model(_ids(model))
    assert [record for record in caplog.records if record.name.startswith("nexus")]
