"""NexusModule and BaseConfig: every fault at once, unknown keys refused, saving and loading without loss."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nexus.core.base import BaseConfig, ConfigError, NexusModule, choice, divides, in_range, positive
from nexus.core.typecheck import matches


@dataclass(frozen=True, kw_only=True)
class PartConfig(BaseConfig):
    rate: float = 0.1

    def faults(self) -> list[str]:
        return in_range(self, "rate", 0, 1, open_high=True)


@dataclass(frozen=True, kw_only=True)
class GateConfig(BaseConfig):
    d_model: int
    n_heads: int = 2
    norm: Literal["rms", "layer"] = "rms"
    mode: str = "fast"
    windows: tuple[int, ...] | None = None
    folder: Path | None = None
    part: PartConfig = field(default_factory=PartConfig)
    parts: tuple[PartConfig, ...] = ()
    extra: dict[str, float] = field(default_factory=dict)

    def faults(self) -> list[str]:
        return [
            *positive(self, "d_model", "n_heads"),
            *divides(self, "n_heads", "d_model"),
            *choice(self, "mode", ("fast", "naive")),
        ]


class Gate(NexusModule):
    config_class = GateConfig
    config: GateConfig

    def __init__(self, config: GateConfig | dict[str, Any]) -> None:
        super().__init__(config)
        d_model = self.config.d_model
        self.up = nn.Linear(d_model, d_model)
        self.down = nn.Linear(d_model, d_model)
        self.down.weight = self.up.weight  # tied, as embeddings are
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("cache", torch.ones(3), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(x)))


class Other(Gate):
    pass


# ---- configurations --------------------------------------------------------------------------------------------------


def test_all_faults_are_reported_at_once_with_value_and_cure():
    with pytest.raises(ConfigError) as caught:
        GateConfig(d_model=-6, n_heads=4, norm="rmss", mode="fats", windows=("a",))
    text = str(caught.value)
    assert len(caught.value.faults) == 4
    for part in (
        "d_model = -6",
        "above 0",
        "norm = 'rmss'",
        "'rms', 'layer'",
        "did you mean 'fast'",
        "windows = ('a',)",
    ):
        assert part in text


def test_from_dict_reports_unknown_missing_and_faulty_together():
    with pytest.raises(ConfigError) as caught:
        GateConfig.from_dict({"d_modle": 8, "n_heads": "two", "part": {"rat": 1, "rate": 2.0}})
    text = str(caught.value)
    for part in ("did you mean 'd_model'", "d_model = None is missing", "n_heads = 'two'", "part: unknown key 'rat'"):
        assert part in text
    assert "part: rate = 2.0" in text
    with pytest.raises(ConfigError, match=r"known keys: d_model, extra, folder"):
        GateConfig.from_dict({"d_model": 8, "zzz": 1})


@pytest.mark.parametrize("data", [[("d_model", 8)], None, "d_model=8"])
def test_from_dict_wants_a_mapping(data):
    with pytest.raises(ConfigError, match="is not a mapping"):
        GateConfig.from_dict(data)


def test_round_trip_through_json_is_equal():
    config = GateConfig(
        d_model=8,
        windows=(1, 2),
        folder=Path("a/b"),
        part=PartConfig(rate=0.5),
        parts=(PartConfig(rate=0.25), PartConfig()),
        extra={"x": 1.0},
    )
    assert GateConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(st.integers(1, 64), st.integers(1, 64), st.one_of(st.none(), st.lists(st.integers())))
def test_every_valid_config_round_trips_and_every_other_is_refused(d_model, n_heads, windows):
    data = {"d_model": d_model, "n_heads": n_heads, "windows": windows}
    if d_model % n_heads:
        with pytest.raises(ConfigError, match="does not divide"):
            GateConfig.from_dict(data)
    else:
        config = GateConfig.from_dict(data)
        assert GateConfig.from_dict(config.to_dict()) == config


def test_replace_checks_again_and_refuses_unknown_names():
    config = GateConfig(d_model=8)
    assert config.replace(n_heads=4) == GateConfig(d_model=8, n_heads=4)
    with pytest.raises(ConfigError, match="does not divide"):
        config.replace(n_heads=3)
    with pytest.raises(ConfigError, match="did you mean 'n_heads'"):
        config.replace(nheads=4)


def test_configs_are_frozen_and_keyword_only():
    with pytest.raises(AttributeError):
        GateConfig(d_model=8).d_model = 9
    with pytest.raises(TypeError):
        GateConfig(8)


def test_a_check_that_stumbles_over_a_right_type_is_not_hidden():
    @dataclass(frozen=True, kw_only=True)
    class Clumsy(BaseConfig):
        size: int | None = None

        def faults(self) -> list[str]:
            return ["too small"] if self.size < 3 else []

    with pytest.raises(TypeError):
        Clumsy()
    with pytest.raises(ConfigError, match="size = 'x' is a str"):
        Clumsy(size="x")


def test_config_error_survives_pickling():
    error = ConfigError("Owner", ["a = 1 is bad; give 2"])
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.faults) == (str(error), error.faults)


@pytest.mark.parametrize(
    ("value", "hint", "fits"),
    [
        (1, int, True),
        (True, int, False),
        (True, bool, True),
        (1, bool, False),
        (1, float, True),
        (1.0, int, False),
        (None, int | None, True),
        ("a", Literal["a", 1], True),
        (True, Literal["a", 1], False),
        ((1, 2), tuple[int, int], True),
        ((1, 2, 3), tuple[int, int], False),
        ((), tuple[int, ...], True),
        ([1, "a"], list[int], False),
        ({"a": 1}, dict[str, int], True),
        ({1: 1}, dict[str, int], False),
        (object(), Any, True),
    ],
)
def test_matches(value, hint, fits):
    assert matches(value, hint) is fits


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_positive_refuses(value):
    @dataclass(frozen=True, kw_only=True)
    class Rate(BaseConfig):
        rate: float

        def faults(self) -> list[str]:
            return positive(self, "rate")

    with pytest.raises(ConfigError, match="rate"):
        Rate(rate=value)


@pytest.mark.parametrize(
    ("value", "good"), [(0, True), (0.999, True), (1, False), (-0.001, False), (float("nan"), False)]
)
def test_in_range_with_open_high(value, good):
    assert (not PartConfig.faults(_Plain(rate=value))) is good


class _Plain:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


# ---- modules ---------------------------------------------------------------------------------------------------------


def test_a_mapping_becomes_the_config_class():
    gate = Gate({"d_model": 4})
    assert gate.config == GateConfig(d_model=4)
    with pytest.raises(ConfigError, match="did you mean 'n_heads'"):
        Gate({"d_model": 4, "nheads": 2})
    with pytest.raises(ConfigError, match="is a PartConfig"):
        Gate(PartConfig())


def test_without_a_config_class_a_mapping_is_kept_as_a_copy():
    data = {"d_model": 4, "deep": [1]}
    module = NexusModule(data)
    data["deep"].append(2)
    assert module.config == {"d_model": 4, "deep": [1]}
    with pytest.raises(ConfigError, match="is missing"):
        NexusModule(None)


def test_device_dtype_and_number_of_parameters():
    gate = Gate({"d_model": 4}).to(torch.float64)
    gate.up.bias.requires_grad_(False)
    assert gate.device == torch.device("cpu")
    assert gate.dtype == torch.float64
    assert gate.num_parameters() == 16 + 4 + 4  # the tied weight counts once
    assert gate.num_parameters(trainable_only=True) == 16 + 4
    empty = NexusModule({})
    assert (empty.device, empty.dtype) == (torch.device("cpu"), torch.float32)
    assert gate.to("meta").device == torch.device("meta")


def test_save_and_load_give_the_same_module(tmp_path):
    gate = Gate({"d_model": 4, "windows": [3]}).to(torch.bfloat16)
    gate.seen += 7
    loaded = Gate.load(gate.save(tmp_path / "new" / "folder"))
    assert loaded.config == gate.config == Gate.saved_config(tmp_path / "new" / "folder")
    assert loaded.down.weight is loaded.up.weight
    assert not loaded.training
    assert gate.state_dict().keys() == loaded.state_dict().keys()
    for name, tensor in gate.state_dict().items():
        assert loaded.state_dict()[name].dtype == tensor.dtype, name
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_saving_again_replaces_and_leaves_no_other_files(tmp_path):
    Gate({"d_model": 4}).save(tmp_path)
    second = Gate({"d_model": 6})
    second.save(tmp_path)
    assert torch.equal(Gate.load(tmp_path).up.weight, second.up.weight)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_config_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError):
        NexusModule({"odd": object()}).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _edit_header(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_loading_refuses_what_it_does_not_know(tmp_path):
    Gate({"d_model": 4}).save(tmp_path)
    with pytest.raises(ValueError, match="holds a 'Gate', not a 'Other'"):
        Other.load(tmp_path)
    _edit_header(tmp_path, format_version=99)
    with pytest.raises(ValueError, match="format_version = 99 is unknown; this Nexus reads version 1"):
        Gate.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not readable JSON"):
        Gate.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Gate.load(tmp_path / "nowhere")


def test_loading_refuses_weights_that_do_not_fit(tmp_path):
    folder = Gate({"d_model": 4}).save(tmp_path)
    _edit_header(folder, config={"d_model": 8})
    with pytest.raises(ValueError, match="does not hold weights for this configuration"):
        Gate.load(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        Gate.load(folder)


def test_loading_names_missing_tensors(tmp_path):
    from safetensors.torch import save_file

    folder = Gate({"d_model": 4}).save(tmp_path)
    save_file({"up.weight": torch.zeros(4, 4), "stray": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing \['down.bias'.*not expected \['stray'\]"):
        Gate.load(folder)


def test_modules_can_be_copied_and_pickled():
    gate = Gate({"d_model": 4})
    x = torch.randn(2, 4)
    assert torch.equal(copy.deepcopy(gate)(x), gate(x))
    assert torch.equal(pickle.loads(pickle.dumps(gate))(x), gate(x))
