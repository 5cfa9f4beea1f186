"""The base of every module of Nexus: it keeps its configuration, knows its device, saves and loads itself.

class Gate(NexusModule):
    config_class = GateConfig
    config: GateConfig                       # for the reader and the type checker

    def __init__(self, config: GateConfig | Mapping[str, Any]) -> None:
        super().__init__(config)             # a plain mapping becomes a checked GateConfig here
        self.proj = nn.Linear(self.config.d_model, 1)
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn

from nexus.core.config import BaseConfig, ConfigError, choice, divides, fault, in_range, positive, unknown_keys
from nexus.core.files import atomic_file

__all__ = [
    "BaseConfig",
    "ConfigError",
    "NexusModule",
    "choice",
    "divides",
    "fault",
    "in_range",
    "positive",
    "unknown_keys",
]

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


class NexusModule(nn.Module):
    """A `torch.nn.Module` with a configuration, a device and a folder format.

    Args:
        config: a configuration, or a plain mapping. A mapping becomes a `config_class` if the class names one
            (unknown keys are refused then) and is otherwise kept as a copied dict.

    Attributes:
        config: what was passed, checked.
    """

    config_class: ClassVar[type[BaseConfig] | None] = None
    config: Any

    def __init__(self, config: BaseConfig | Mapping[str, Any]) -> None:
        super().__init__()
        self.config = self._checked(config)

    @classmethod
    def _checked(cls, config: Any) -> Any:
        wanted = cls.config_class
        if wanted is not None and isinstance(config, Mapping):
            return wanted.from_dict(config)
        if wanted is not None and not isinstance(config, wanted):
            cure = f"pass a {wanted.__name__} or a mapping of its fields"
            raise ConfigError(cls.__name__, [fault("config", config, f"is a {type(config).__name__}", cure)])
        if config is None:
            raise ConfigError(cls.__name__, [fault("config", config, "is missing", "pass a configuration or a dict")])
        return copy.deepcopy(dict(config)) if isinstance(config, Mapping) else config

    @property
    def device(self) -> torch.device:
        """Where the first parameter (or else buffer) lives; the default device for a module that has neither."""
        tensor = self._first_tensor()
        return torch.get_default_device() if tensor is None else tensor.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the first floating-point parameter or buffer; the default type for a module that has neither."""
        tensor = self._first_tensor(floating=True)
        return torch.get_default_dtype() if tensor is None else tensor.dtype

    def _first_tensor(self, floating: bool = False) -> torch.Tensor | None:
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((t for t in tensors if t.is_floating_point() or not floating), None)

    def num_parameters(self, trainable_only: bool = False) -> int:
        """Number of scalars in all parameters; a parameter used twice counts once."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not trainable_only)

    # ---- saving and loading -----------------------------------------------------------------------------------------

    def save(self, folder: str | Path, max_shard_bytes: int | None = None) -> Path:
        """Write `model.safetensors` and `config.json` (with a format version) into `folder`, and return it.

        Each file is replaced as a whole. Non-persistent buffers (caches, feature banks) are not saved. With
        ``max_shard_bytes`` the weights of a larger model go into several files with an index.
        """
        from safetensors.torch import save_model

        from nexus.core import shards

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.config.to_dict() if isinstance(self.config, BaseConfig) else self.config
        header = {"format_version": FORMAT_VERSION, "class": type(self).__name__, "config": config}
        text = json.dumps(header, indent=2) + "\n"  # before any file is touched: a value JSON cannot hold raises here
        size = sum(t.numel() * t.element_size() for t in self.state_dict().values())
        if max_shard_bytes is not None and size > max_shard_bytes:
            shards.save_shards(self, folder, max_shard_bytes)
            (folder / WEIGHTS_FILE).unlink(missing_ok=True)
        else:
            (folder / shards.INDEX_FILE).unlink(missing_ok=True)  # or it would be believed
            with atomic_file(folder / WEIGHTS_FILE) as path:
                save_model(self, str(path))  # keeps tied weights tied
        with atomic_file(folder / CONFIG_FILE) as path:
            path.write_text(text, encoding="utf-8")
        return folder

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> Self:
        """Rebuild what `save` wrote, in evaluation mode.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: the format version is unknown, the folder holds another class, or the weights do not fit.
        """
        model = cls(cls.saved_config(folder))
        _load_weights(model, Path(folder) / WEIGHTS_FILE)
        return model.to(device).eval()

    @classmethod
    def saved_config(cls, folder: str | Path) -> Any:
        """The configuration of what `save` wrote, checked, and that there are weights: all but reading these.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: the format version is unknown, or the folder holds another class.
        """
        folder = Path(folder)
        header = _read_header(folder / CONFIG_FILE)
        if header["class"] != cls.__name__:
            raise ValueError(f"{folder} holds a {header['class']!r}, not a {cls.__name__!r}; load it with that class")
        _check_weights(folder / WEIGHTS_FILE)
        return cls._checked(header["config"])


def _read_header(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a folder that NexusModule.save wrote")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON ({error}); restore the file or save the model again") from None
    version = header.get("format_version") if isinstance(header, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path}: format_version = {version!r} is unknown; this Nexus reads version {FORMAT_VERSION}, "
            "so load it with the version of Nexus that wrote it and save it again"
        )
    if not {"class", "config"} <= header.keys():
        raise ValueError(f"{path} lacks 'class' or 'config'; restore the file or save the model again")
    return header


def _check_weights(path: Path) -> None:
    from nexus.core import shards

    if not path.is_file() and not (path.parent / shards.INDEX_FILE).is_file():
        raise FileNotFoundError(f"{path} does not exist; give a folder that NexusModule.save wrote")


def _load_weights(model: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file, load_model

    from nexus.core import shards

    if (path.parent / shards.INDEX_FILE).is_file():
        _load_shards(model, path.parent)
        return
    try:
        tensors, own = load_file(path), model.state_dict(keep_vars=True)
        for name in tensors.keys() & own.keys():
            own[name].data = own[name].data.to(tensors[name].dtype)  # a bfloat16 model comes back as bfloat16
        missing, unexpected = load_model(model, str(path), strict=False)
    except (SafetensorError, RuntimeError) as error:  # torch's own message names the tensors whose shapes differ
        raise ValueError(f"{path} does not hold weights for this configuration: {error}") from error
    if missing or unexpected:
        raise ValueError(
            f"{path} does not fit this configuration: missing {sorted(missing)}, not expected {sorted(unexpected)}; "
            "restore the folder or save the model again"
        )


def _load_shards(model: nn.Module, folder: Path) -> None:
    from nexus.core import shards

    tensors, own = shards.load_shards(folder), model.state_dict(keep_vars=True)
    for name in tensors.keys() & own.keys():
        own[name].data = own[name].data.to(tensors[name].dtype)
    try:
        missing, unexpected = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{folder} does not hold weights for this configuration: {error}") from error
    lacking = set(missing) - shards.aliases_of(model, set(tensors))
    if lacking or unexpected:
        raise ValueError(
            f"{folder} does not fit this configuration: missing {sorted(lacking)}, not expected {sorted(unexpected)}; "
            "restore the folder or save the model again"
        )
