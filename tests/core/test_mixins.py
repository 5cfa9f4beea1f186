"""The two mixins, used as the documentation promises: beside NexusModule, with a dataclass or a plain mapping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nexus.core.base import BaseConfig, ConfigError, NexusModule, positive
from nexus.core.mixins import ConfigValidatorMixin, FeatureBankMixin


@dataclass(frozen=True, kw_only=True)
class SizeConfig(BaseConfig):
    d_model: int = 4
    dropout: float = 0.0

    def faults(self) -> list[str]:
        return positive(self, "d_model")


class MyModel(ConfigValidatorMixin, FeatureBankMixin, NexusModule):
    def __init__(self, config: Any, **checks: Any) -> None:
        super().__init__(config)
        self.validate_config(config, required_keys=["d_model"], **checks)
        self.proj = nn.Linear(4, 4)
        self.register_feature_bank("hidden", capacity=5, dim=4)


@pytest.mark.parametrize("config", [SizeConfig(), {"d_model": 4, "dropout": 0.1}])
def test_it_builds_from_a_dataclass_and_from_a_mapping(config):
    assert MyModel(config).num_parameters() == 20


def test_all_faults_of_a_mapping_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        MyModel(
            {"dropout": 1.5, "norm": "rm", "depth": "two", "d_modle": 4},
            types={"depth": int},
            ranges={"dropout": (0, 1), "absent": (0, 1)},
            choices={"norm": ["rms", "layer"]},
            known_keys=["d_model", "dropout", "norm", "depth"],
        )
    text = str(caught.value)
    assert len(caught.value.faults) == 5
    for part in (
        "MyModel: 5 faults",
        "d_model = None is missing",
        "unknown key 'd_modle'; did you mean 'd_model'?",
        "dropout = 1.5 is out of range; give a number in [0, 1]",
        "norm = 'rm' is not a choice",
        "depth = 'two' is a str; give int",
    ):
        assert part in text


def test_a_dataclass_is_checked_by_its_own_rules_as_well():
    config = SizeConfig()
    object.__setattr__(config, "d_model", -1)  # as if someone had forced it
    with pytest.raises(ConfigError, match="d_model = -1 is not positive") as caught:
        MyModel(config, ranges={"dropout": (0.5, None)})
    assert "dropout = 0.0 is out of range; give a number in [0.5, inf)" in str(caught.value)


# ---- the feature bank ------------------------------------------------------------------------------------------------


def _bank(capacity: int = 5) -> FeatureBankMixin:
    bank = FeatureBankMixin()
    bank.register_feature_bank(capacity=capacity, dim=1)
    return bank


@given(st.integers(1, 7), st.lists(st.integers(0, 20), max_size=8))
def test_the_ring_holds_the_latest_in_order(capacity, batches):
    bank, expected, start = _bank(capacity), [], 0
    for size in batches:
        values = torch.arange(start, start + size, dtype=torch.float32)
        bank.store_features(values[:, None])
        expected, start = [*expected, *values.tolist()][-capacity:], start + size
        assert bank.stored_features()[:, 0].tolist() == expected


def test_features_are_detached_and_flattened():
    bank = _bank()
    features = torch.randn(2, 2, 1, requires_grad=True)
    bank.store_features(features * 2)
    assert not bank.stored_features().requires_grad
    assert torch.equal(bank.stored_features(), (features * 2).detach().reshape(4, 1))


def test_a_sample_is_without_repeats_even_and_repeatable():
    bank = _bank(4)
    bank.store_features(torch.arange(4.0)[:, None])
    generator = torch.Generator().manual_seed(1)
    drawn = [bank.sample_features(2, generator=generator)[:, 0].tolist() for _ in range(2000)]
    assert all(len(set(pair)) == 2 for pair in drawn)
    share = [sum(value in pair for pair in drawn) / len(drawn) for value in range(4)]
    assert all(abs(s - 0.5) < 0.05 for s in share)  # 4.5 standard deviations
    again = torch.Generator().manual_seed(1)
    assert bank.sample_features(2, generator=again)[:, 0].tolist() == drawn[0]


def test_asking_for_more_than_there_is_says_how_many_there_are():
    bank = _bank()
    bank.store_features(torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"count = 3 .* holds 2"):
        bank.sample_features(3)
    bank.clear_features()
    assert len(bank.stored_features()) == 0


def test_wrong_width_unknown_bank_and_bad_size_are_refused():
    bank = _bank()
    with pytest.raises(ValueError, match="width 3, bank 'features' holds width 1"):
        bank.store_features(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="no feature bank 'other'"):
        bank.sample_features(1, "other")
    with pytest.raises(ConfigError, match="capacity = 0 is below 1"):
        bank.register_feature_bank("new", capacity=0, dim=1)


def test_banks_move_with_the_module_but_are_not_saved(tmp_path):
    model = MyModel({"d_model": 4})
    model.store_features(torch.ones(2, 4), "hidden")
    assert set(model.state_dict()) == {"proj.weight", "proj.bias"}
    assert len(MyModel.load(model.save(tmp_path)).stored_features("hidden")) == 0
    assert model.to("meta").get_buffer("_bank_hidden").device.type == "meta"


def test_a_bank_can_be_stored_in_half_the_memory():
    bank = FeatureBankMixin()
    bank.register_feature_bank(capacity=2, dim=1, dtype=torch.float16)
    bank.store_features(torch.tensor([[1 / 3]]))
    assert bank.stored_features().dtype == torch.float16
