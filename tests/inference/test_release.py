"""A release folder is loaded by one call, and what is wrong with one is named."""

import json

import pytest
import torch

from nexus.core.base import ConfigError
from nexus.core.state_space import HybridLM
from nexus.inference import release as release_module
from nexus.inference.generation import generate
from nexus.inference.quantization import Int8Linear, quantize
from nexus.inference.release import GenerationDefaults, load_release, open_release
from tests.tiny_release import SPECIAL, text_tokenizer, tiny_model, write_release

CHAT = [{"role": "user", "content": "Hello"}]


def test_one_call_loads_what_was_written(tmp_path):
    model = tiny_model()
    release = load_release(write_release(tmp_path, model))
    ids = release.tokenizer.chat_ids(CHAT)
    assert ids == text_tokenizer().chat_ids(CHAT)
    assert torch.equal(release.model(torch.tensor([ids])).logits, model(torch.tensor([ids])).logits)
    assert not release.model.training
    answers = [generate(m, [ids], max_new_tokens=8, eos_ids=release.generation.eos_ids) for m in (release.model, model)]
    assert answers[0] == answers[1]


def test_defaults_come_from_the_tokenizer_and_the_config(tmp_path):
    release = load_release(write_release(tmp_path))
    assert release.generation == GenerationDefaults(eos_ids=(256 + SPECIAL.index("<|im_end|>"),))
    assert release.model.backbone.window == release.model.config.window == 5


def test_generation_json_says_otherwise(tmp_path):
    release = load_release(write_release(tmp_path, eos_ids=(1, 2), system="Be brief.", window=0))
    assert release.generation == GenerationDefaults(eos_ids=(1, 2), system="Be brief.", window=0)
    assert release.model.backbone.window == 0


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; give the folder of a release"):
        load_release(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("opened", [load_release, open_release])
def test_a_missing_file_is_named(tmp_path, file, opened):
    write_release(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        opened(tmp_path)


def test_the_model_is_loaded_when_it_is_first_asked_for_and_once(tmp_path, monkeypatch):
    whole, loads = HybridLM.load, []
    monkeypatch.setattr(HybridLM, "load", lambda *where: loads.append(where) or whole(*where))
    release = open_release(write_release(tmp_path, window=0))
    assert release.tokenizer.chat_ids(CHAT)
    assert loads == []
    assert release.model is release.model
    assert (len(loads), release.model.backbone.window) == (1, 0)
    load_release(tmp_path)
    assert len(loads) == 2


def test_in_eight_bits_it_is_the_quantised_model(tmp_path):
    release, model = load_release(write_release(tmp_path), int8=True), load_release(tmp_path).model
    ids = torch.arange(20)[None]
    assert isinstance(release.model.lm_head, Int8Linear)
    assert torch.equal(release.model(ids).logits, quantize(model)(ids).logits)


def test_the_hash_is_of_what_the_release_is_made_of_and_read_once(tmp_path, monkeypatch):
    read, digest = [], release_module.sha256_file
    monkeypatch.setattr(release_module, "sha256_file", lambda file: read.append(file.name) or digest(file))
    release = load_release(write_release(tmp_path))
    assert read == []
    assert release.hash == release.hash
    assert sorted(read) == [
        "chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    ]  # fmt: skip
    (tmp_path / "living").mkdir()
    (tmp_path / "living" / "certificate.json").write_text("{}")
    assert open_release(tmp_path).hash == release.hash
    assert open_release(tmp_path, int8=True).hash != release.hash
    GenerationDefaults(window=0).save(tmp_path)
    assert open_release(tmp_path).hash != release.hash


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("{", ValueError, "generation.json is not readable JSON"),
        (json.dumps({"eos_id": [1]}), ConfigError, "unknown key 'eos_id'; did you mean 'eos_ids'"),
        (json.dumps({"window": -1}), ConfigError, "window"),
    ],
)
def test_a_damaged_generation_json_is_named(tmp_path, content, error, message):
    write_release(tmp_path)
    (tmp_path / "generation.json").write_text(content)
    with pytest.raises(error, match=message):
        load_release(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    write_release(tmp_path, tiny_model(vocab_size=100))
    with pytest.raises(ValueError, match="the tokenizer knows 259 ids, the model 100"):
        load_release(tmp_path)
