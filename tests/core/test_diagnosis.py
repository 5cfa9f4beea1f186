"""`nexus doctor model`: a sound model passes, and each planted fault is found."""

from __future__ import annotations

import json

import pytest
import torch

from nexus import cli
from nexus.core.diagnosis import diagnose, load_model
from nexus.core.nexus_core import NEXUSConfig, NEXUSCore
from nexus.core.state_space import HybridConfig, HybridLM

pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own tracer


def _checks(model):
    return {check.name: check for check in diagnose(model, 12, compiling=False).checks}


@pytest.mark.parametrize("compiling", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_sound_mind_passes_and_stays_as_it_is(compiling):
    model = NEXUSCore(NEXUSConfig.tiny(ssm_n_layers=2, plan="MA")).train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    found = diagnose(model, 12, compiling)
    assert found.good, str(found)
    names = ["forward", "gradients", "causality", "pieces"]
    assert [check.name for check in found.checks] == [*names, *(["compile"] if compiling else [])]
    assert model.training
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in model.named_parameters())


def test_a_parameter_without_a_gradient_is_named():
    model = NEXUSCore(NEXUSConfig.tiny())
    model.world_model.encoder.unused = torch.nn.Parameter(torch.zeros(3))
    model.world_model.target.unused = torch.nn.Parameter(torch.zeros(3), requires_grad=False)
    check = _checks(model)["gradients"]
    assert not check.good
    assert "world_model.encoder.unused" in check.found


def test_a_look_into_the_future_is_found():
    model = HybridLM(HybridConfig.tiny())
    model.backbone.norm.register_forward_hook(lambda _, __, y: y + y.mean(1, keepdim=True))
    assert not _checks(model)["causality"].good


def test_a_part_of_the_mind_that_looks_into_the_future_is_named():
    model = NEXUSCore(NEXUSConfig.tiny())
    model.world_model.encoder.observe.register_forward_hook(lambda _, __, y: y + y.mean(1, keepdim=True))
    check = _checks(model)["causality"]
    assert not check.good
    assert "moves latents before it by" in check.found or "moves expected before it by" in check.found


def test_numbers_that_are_none_are_found():
    model = HybridLM(HybridConfig.tiny())
    with torch.no_grad():
        model.embed.weight[:] = float("nan")
    assert not _checks(model)["forward"].good


def test_the_command_tells_it_as_text_and_as_json(tmp_path, capsys):
    folder = str(NEXUSCore(NEXUSConfig.tiny()).save(tmp_path))
    assert cli.main(["doctor", "model", folder, "--no-compile", "--length", "8"]) == 0
    text = capsys.readouterr().out
    assert "All is well." in text
    assert "world_model" in text
    assert cli.main(["doctor", "model", folder, "--no-compile", "--length", "8", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["good"] is True
    assert told["parameters"]["language"] > 0
    assert list(told["milliseconds"]) == ["forward, 8 tokens", "one more token", "forward and backward"]
    assert isinstance(load_model(HybridLM(HybridConfig.tiny()).save(tmp_path / "lm")), HybridLM)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no/such/folder"], "no/such/folder"),
        (["--preset", "huge"], "preset = 'huge'"),
        (["--length", "1"], "--length"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_code_2(arguments, words, capsys):
    assert cli.main(["doctor", "model", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
