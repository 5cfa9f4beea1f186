"""A release folder is loaded by one call, and what is wrong with one is named."""

import json

import pytest
import torch

from nexus.core.base import ConfigError
from nexus.inference.generation import generate
from nexus.inference.release import GenerationDefaults, load_release
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
def test_a_missing_file_is_named(tmp_path, file):
    write_release(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        load_release(tmp_path)


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
