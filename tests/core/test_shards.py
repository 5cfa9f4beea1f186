"""Weights over several files come back whole, and what is missing is named."""

from __future__ import annotations

import pytest
import torch

from nexus.core.shards import INDEX_FILE
from nexus.core.state_space import HybridConfig, HybridLM


def _saved(folder, limit=20_000):
    model = HybridLM(HybridConfig.tiny())
    model.save(folder, max_shard_bytes=limit)
    return model


def test_several_files_come_back_as_one_model_with_tied_weights(tmp_path):
    model = _saved(tmp_path)
    files = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(files) > 2
    assert not (tmp_path / "model.safetensors").exists()
    assert all(file.stat().st_size < 24_000 for file in files)
    again = HybridLM.load(tmp_path)
    ids = torch.arange(9)[None]
    assert torch.equal(again(ids).logits, model.eval()(ids).logits)
    assert again.lm_head.weight is again.embed.weight


def test_a_later_save_is_the_one_that_is_read(tmp_path):
    _saved(tmp_path)
    whole = HybridLM(HybridConfig.tiny())
    whole.save(tmp_path)
    assert torch.equal(HybridLM.load(tmp_path).embed.weight, whole.embed.weight)
    parts = _saved(tmp_path)
    assert torch.equal(HybridLM.load(tmp_path).embed.weight, parts.embed.weight)


def test_what_fits_stays_in_one_file(tmp_path):
    _saved(tmp_path, 10**9)
    assert (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / INDEX_FILE).exists()


def test_a_missing_file_and_a_broken_index_are_named(tmp_path):
    _saved(tmp_path)
    second = sorted(tmp_path.glob("model-*.safetensors"))[1]
    second.unlink()
    with pytest.raises(FileNotFoundError, match=second.name):
        HybridLM.load(tmp_path)
    (tmp_path / INDEX_FILE).write_text("{}")
    with pytest.raises(ValueError, match="cannot be read"):
        HybridLM.load(tmp_path)


def test_other_sizes_are_refused(tmp_path):
    _saved(tmp_path)
    header = tmp_path / "config.json"
    header.write_text(header.read_text().replace('"d_ff": 64', '"d_ff": 128'))
    with pytest.raises(ValueError, match="does not hold weights"):
        HybridLM.load(tmp_path)
