"""Two things a model may mix in: checking its configuration, and a bank of past features for replay.

class MyModel(ConfigValidatorMixin, FeatureBankMixin, NexusModule):
    def __init__(self, config):
        super().__init__(config)
        self.validate_config(config, required_keys=["d_model"], ranges={"d_model": (1, None)})
        self.register_feature_bank("hidden", capacity=1024, dim=self.config["d_model"])
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nexus.core.config import BaseConfig, ConfigError, choice, fault, in_range, unknown_keys
from nexus.core.typecheck import describe, matches


class ConfigValidatorMixin:
    """`validate_config` for a configuration of any kind: a `BaseConfig`, another object, or a plain mapping."""

    def validate_config(
        self,
        config: BaseConfig | Mapping[str, Any] | object,
        required_keys: Iterable[str] = (),
        *,
        types: Mapping[str, Any] | None = None,
        ranges: Mapping[str, tuple[float | None, float | None]] | None = None,
        choices: Mapping[str, Collection[object]] | None = None,
        known_keys: Collection[str] | None = None,
    ) -> None:
        """Check a configuration and report everything that is wrong with it at once.

        Args:
            config: what to check. A `BaseConfig` also runs its own checks.
            required_keys: must be there and not None.
            types: key -> annotation, such as `int` or `list[str] | None`; checked where the key is there.
            ranges: key -> (lowest, highest), both included; None leaves a side open.
            choices: key -> allowed values.
            known_keys: if given, a mapping may hold no other keys.

        Raises:
            ConfigError: with one line for each fault.
        """
        view = _View(config)
        faults = unknown_keys(config, known_keys) if known_keys is not None and isinstance(config, Mapping) else []
        for key in required_keys:
            if getattr(view, key) is None:
                faults.append(fault(key, None, "is missing", "give it a value"))
        for key, hint in (types or {}).items():
            value = getattr(view, key)
            if value is not None and not matches(value, hint):
                faults.append(fault(key, value, f"is a {type(value).__name__}", f"give {describe(hint)}"))
        for key, (low, high) in (ranges or {}).items():
            faults += in_range(view, key, low, high)
        for key, options in (choices or {}).items():
            faults += choice(view, key, options)
        if isinstance(config, BaseConfig):
            faults += _own_faults(config)
        if faults:
            raise ConfigError(type(self).__name__, dict.fromkeys(faults))  # a fault found twice is told once


class _View:
    """Reads a mapping or an object by attribute; what is not there reads as None."""

    def __init__(self, config: object) -> None:
        self._config = config

    def __getattr__(self, name: str) -> Any:
        return self._config.get(name) if isinstance(self._config, Mapping) else getattr(self._config, name, None)


def _own_faults(config: BaseConfig) -> list[str]:
    try:
        config.validate()
    except ConfigError as error:
        return error.faults
    return []


class FeatureBankMixin(nn.Module):
    """Named ring buffers of feature vectors: a bounded memory of what a model has seen, sampled for replay.

    A bank is a non-persistent buffer: it moves with the module between devices and is not part of saved weights.
    Features are stored detached, in the bank's own type (float16 halves the memory).
    """

    def register_feature_bank(
        self, name: str = "features", *, capacity: int, dim: int, dtype: torch.dtype = torch.float32
    ) -> None:
        """Make an empty bank of `capacity` vectors of width `dim`; a bank of that name is replaced.

        Raises:
            ValueError: `capacity` or `dim` is below one.
        """
        wrong = [(field, value) for field, value in (("capacity", capacity), ("dim", dim)) if value < 1]
        if wrong:
            raise ConfigError(f"feature bank {name!r}", [fault(f, v, "is below 1", "give 1 or more") for f, v in wrong])
        self.register_buffer(f"_bank_{name}", torch.zeros(capacity, dim, dtype=dtype), persistent=False)
        self.register_buffer(f"_bank_{name}_written", torch.zeros((), dtype=torch.long), persistent=False)

    def store_features(self, features: Tensor, name: str = "features") -> None:
        """Append vectors (..., dim) to the bank; when it is full the oldest are overwritten.

        Raises:
            ValueError: there is no such bank, or the width is not the bank's.
        """
        bank, written = self._bank(name)
        if features.shape[-1] != bank.shape[1]:
            raise ValueError(
                f"features have width {features.shape[-1]}, bank {name!r} holds width {bank.shape[1]}; "
                f"register the bank with dim={features.shape[-1]}"
            )
        rows = features.detach().reshape(-1, bank.shape[1])
        skipped = max(len(rows) - len(bank), 0)  # these would be overwritten within this very call
        slots = torch.arange(skipped, len(rows), device=bank.device) + written
        bank[slots % len(bank)] = rows[skipped:].to(bank)
        written += len(rows)

    def stored_features(self, name: str = "features") -> Tensor:
        """A copy of what the bank holds, oldest first: (count, dim)."""
        bank, written = self._bank(name)
        total = int(written)
        count = min(total, len(bank))
        return bank[torch.arange(total - count, total, device=bank.device) % len(bank)]

    def sample_features(
        self, count: int, name: str = "features", *, generator: torch.Generator | None = None
    ) -> Tensor:
        """`count` different vectors drawn evenly from the bank: (count, dim).

        Raises:
            ValueError: the bank holds fewer than `count` vectors.
        """
        stored = self.stored_features(name)
        if not 0 < count <= len(stored):
            raise ValueError(
                f"count = {count} of bank {name!r}, which holds {len(stored)}; ask for 1 to {len(stored)} or store more"
            )
        picked = torch.randperm(len(stored), generator=generator, device=generator.device if generator else None)
        return stored[picked[:count].to(stored.device)]

    def clear_features(self, name: str = "features") -> None:
        """Empty the bank; its capacity stays."""
        bank, written = self._bank(name)
        bank.zero_()
        written.zero_()

    def _bank(self, name: str) -> tuple[Tensor, Tensor]:
        bank = self._buffers.get(f"_bank_{name}")
        written = self._buffers.get(f"_bank_{name}_written")
        if bank is None or written is None:
            raise ValueError(f"there is no feature bank {name!r}; call register_feature_bank({name!r}, ...) first")
        return bank, written
