"""What a run is asked to do: one frozen record, built from the command line.

A stage author adds a field here (with a default, and a value in `QUICK` if a quick run needs another), and lists it in
the stage's `inputs()`; `--set field=value` then works by itself, checked against the annotation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_type_hints

from nexus.core.config import BaseConfig, ConfigError, in_range, positive, unknown_keys
from nexus.core.typecheck import coerce, describe, matches
from nexus_final.errors import UserError
from nexus_final.paths import default_root

# What `--quick` changes; an explicit --set wins over it.
QUICK: Mapping[str, Any] = MappingProxyType(
    {
        "align_tokens": 2_048,
        "align_steps": 6,
        "realign_steps": 2,
        "extract_tokens": 4_096,
        "train_tokens": 2_048,
        "windowed_tokens": 2_048,
        "evaluate_tokens": 2_048,
        "generation_items": 8,
        "chat_prompts": 8,
        "chat_tokens": 48,
        "context_lengths": (512, 2_048),
    }
)


@dataclass(frozen=True, kw_only=True)
class RunConfig(BaseConfig):
    """All settings of a run. `root`, `registry` and `quick` only say where things are; stages fingerprint the rest.

    Attributes:
        models, datasets: names asked for, or None for the registry's ready ones and the default sets.
        sequence_length: tokens of a training text.
        align_tokens, align_steps: texts for the layer-wise alignment, and steps of one text each for every layer.
        realign_steps: more such steps, on as many other texts, for the student without windows.
        extract_tokens: teacher tokens put on disk.
        train_tokens, windowed_tokens: tokens of the end-to-end training of the student without windows, and of the one
            with windows; repeats included.
        mixer_rate, rest_rate: learning rates of the new state-space paths and of what the teacher gave, in the student
            without windows. windowed_mixer_rate, windowed_rest_rate: the same in the other one.
        evaluate_tokens: of each held-out set and length. generation_items: questions of each set; 0 leaves
            out all that is asked of the carried sets. chat_prompts: of the exam. chat_tokens: an answer may have; a
            longer one counts as broken off. router_texts: 0 leaves the router out.
        context_lengths: texts so long that the cost of the next token is measured after them.
        precision: of matrix products where texts are read and learnt from, and in the perplexities (not in answers);
            auto takes bfloat16 where the machine is fast at it.
        ce_weight: weight of the text's own next token beside the teacher's distribution.
        disk_reserve_gb: space that a stage must leave free.
    """

    root: Path = field(default_factory=default_root)
    registry: Path | None = None
    models: tuple[str, ...] | None = None
    datasets: tuple[str, ...] | None = None
    seed: int = 0
    quick: bool = False
    sequence_length: int = 512
    align_tokens: int = 24_576
    align_steps: int = 100
    realign_steps: int = 100
    extract_tokens: int = 57_344
    train_tokens: int = 65_536
    windowed_tokens: int = 18_432
    mixer_rate: float = 2e-4
    rest_rate: float = 3e-5
    windowed_mixer_rate: float = 4e-4
    windowed_rest_rate: float = 6e-5
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    ce_weight: float = 0.25
    evaluate_tokens: int = 8_192
    generation_items: int = 64
    chat_prompts: int = 100
    chat_tokens: int = 192
    router_texts: int = 1
    context_lengths: tuple[int, ...] = (512, 1_024, 2_048, 4_096, 8_192, 16_384)
    disk_reserve_gb: float = 0.5

    def faults(self) -> list[str]:
        """Ranges."""
        counts = ("sequence_length", "align_tokens", "align_steps", "extract_tokens", "train_tokens")
        return [
            *positive(self, *counts, "realign_steps", "windowed_tokens", "mixer_rate", "windowed_mixer_rate"),
            *in_range(self, "seed", 0, 2**63 - 1),
            *in_range(self, "rest_rate", 0),
            *in_range(self, "windowed_rest_rate", 0),
            *in_range(self, "ce_weight", 0),
            *in_range(self, "generation_items", 0),
            *positive(self, "chat_prompts", "chat_tokens"),
            *in_range(self, "router_texts", 0),
            *positive(self, "evaluate_tokens"),
            *in_range(self, "disk_reserve_gb", 0),
        ]

    def subset(self, *names: str) -> dict[str, Any]:
        """The named settings as JSON-ready values, for a stage's `inputs()`."""
        everything = self.to_dict()
        return {name: everything[name] for name in names}

    @classmethod
    def from_command_line(cls, assignments: Iterable[str], **options: Any) -> RunConfig:
        """Build from `--set` assignments and the named options; options that are None keep their default.

        Raises:
            UserError: an assignment without `=`.
            ConfigError: unknown keys and wrong values, all at once.
        """
        given = {name: value for name, value in options.items() if value is not None}
        settings = dict(QUICK) if given.get("quick") else {}
        return cls.from_dict({**settings, **given, **parse_assignments(assignments, get_type_hints(cls))})


def parse_assignments(assignments: Iterable[str], hints: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `key=value` texts into typed values.

    Raises:
        UserError: a text without `=`.
        ConfigError: unknown keys, and values that don't fit the annotation.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for text in assignments:
        key, separator, value = text.partition("=")
        key = key.strip()
        if not separator:
            raise UserError("--set", f"{text!r} has no '='", "write --set key=value, for instance --set seed=1")
        if unknown := unknown_keys([key], hints):
            faults += unknown
        elif (candidate := _fitting(value.strip(), hints[key])) is None:
            faults.append(f"{key} = {value.strip()!r} doesn't fit; give {describe(hints[key])}")
        else:
            values[key] = candidate[0]
    if faults:
        raise ConfigError("--set", faults)
    return values


def _fitting(text: str, hint: Any) -> tuple[Any] | None:
    """The first reading of `text` (JSON, comma list, plain text) that fits the annotation, boxed; or None."""
    readings: list[Any] = []
    for spelling in (text, text.lower()):
        try:
            readings.append(json.loads(spelling))
        except json.JSONDecodeError:
            continue
    readings += [None] if text.lower() == "none" else []
    readings += [split_names(text), text]
    for reading in readings:
        candidate = coerce(reading, hint, lambda target, data: data, BaseConfig)
        if matches(candidate, hint):
            return (candidate,)
    return None


def split_names(text: str) -> tuple[str, ...]:
    """`"A, B"` -> `("A", "B")`; empty parts are dropped."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
