"""LoRA: learn a low-rank change of frozen weights. Paper: arXiv:2106.09685.

The one idea: ``W x + (alpha / r) B A x`` with A (r, in) and B (out, r), of which B starts at zero, so that training
begins at the model itself. Adapters are files in PEFT's format (``adapter_config.json``,
``adapter_model.safetensors``), both ways.

    wrapped = apply_lora(model, ["q_proj", "v_proj"], rank=8)
    ...train...
    save_adapter(model, "my-adapter")
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nexus.core.files import atomic_folder

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."


class Change(NamedTuple):
    """A low-rank change of one linear layer: A (rank, in) and B (out, rank)."""

    down: Tensor
    up: Tensor


class LoRA(nn.Module):
    """A linear layer with a low-rank change beside it (equation 3 of the paper).

    Args:
        base: kept as it is, and frozen.
        rank: r. alpha: the change is scaled by ``alpha / rank`` (with ``stabilised`` by ``alpha / sqrt(rank)``,
            arXiv:2312.03732). dropout: of the change's input.
    """

    def __init__(
        self, base: nn.Linear, rank: int = 8, alpha: float = 16.0, dropout: float = 0.0, stabilised: bool = False
    ) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank={rank}: is below 1; 4 to 64 is usual")
        self.base = base.requires_grad_(False)
        self.rank, self.alpha, self.stabilised, self.on = rank, alpha, stabilised, True
        self.lora_A = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        self.dropout = nn.Dropout(dropout)
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    @property
    def weight(self) -> Tensor:
        """The frozen weight, for code that asks a linear layer for it."""
        return self.base.weight

    @property
    def scale(self) -> float:
        """Factor of the change."""
        return self.alpha / (math.sqrt(self.rank) if self.stabilised else self.rank)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        y = self.base(x)
        if not self.on:
            return y
        return y + (self.dropout(x) @ self.lora_A.mT @ self.lora_B.mT) * self.scale

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The base with the change added to its weight; the base itself is used up."""
        self.base.weight += (self.lora_B @ self.lora_A) * self.scale
        return self.base


def apply_lora(
    model: nn.Module,
    targets: Sequence[str] = ("q_proj", "v_proj"),
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.0,
    stabilised: bool = False,
) -> list[str]:
    """Freeze the model and put a change beside each linear layer whose name ends in one of ``targets``.

    ``["all-linear"]`` takes every linear layer but the head. Returns the names.

    Raises:
        ValueError: no layer has such a name; the message lists those there are.
    """
    linear = target_layers(model, targets)
    model.requires_grad_(False)
    for name, layer in linear.items():
        _replace(model, name, LoRA(layer, rank, alpha, dropout, stabilised))
    return list(linear)


def target_layers(model: nn.Module, targets: Sequence[str]) -> dict[str, nn.Linear]:
    """The linear layers that ``targets`` names, as for :func:`apply_lora`, which also says what is raised."""
    linear = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    everything = list(targets) == ["all-linear"]
    heads = {name for name in linear if name.rpartition(".")[2] in ("lm_head", "head", "score", "classifier")}
    names = [n for n in linear if (everything and n not in heads) or n.rpartition(".")[2] in targets or n in targets]
    if not names:
        kinds = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
        raise ValueError(f"targets={list(targets)}: no linear layer has such a name; there are {kinds}")
    return {name: linear[name] for name in names}


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def adapters(model: nn.Module) -> Iterator[tuple[str, LoRA]]:
    """Names and changes in a model."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoRA))


@contextmanager
def without_lora(model: nn.Module) -> Iterator[None]:
    """The model as it was before, for the length of the block: the reference of DPO, at no memory."""
    changes = [module for _, module in adapters(model)]
    for change in changes:
        change.on = False
    try:
        yield
    finally:
        for change in changes:
            change.on = True


def merge_lora(model: nn.Module) -> None:
    """Add every change to its weight and take the wrappers away: the model is a plain one again."""
    for name, change in list(adapters(model)):
        _replace(model, name, change.merged())


def save_adapter(model: nn.Module, folder: Path | str, base_name: str | None = None) -> Path:
    """Write the changes in PEFT's format; returns the folder.

    Raises:
        ValueError: there are none, or they differ in rank or scale (one file holds one of each).
    """
    found = dict(adapters(model))
    settings = {(a.rank, a.alpha, a.stabilised, a.dropout.p) for a in found.values()}
    if len(settings) != 1:
        raise ValueError(
            f"model: has {len(found)} LoRA layers of {len(settings)} kinds; call apply_lora once, with one rank"
        )
    rank, alpha, stabilised, dropout = settings.pop()
    changes = {name: Change(change.lora_A, change.lora_B) for name, change in found.items()}
    return write_adapter(folder, changes, rank, alpha, dropout=dropout, stabilised=stabilised, base_name=base_name)


def write_adapter(
    folder: Path | str,
    changes: Mapping[str, Change],
    rank: int,
    alpha: float,
    *,
    dropout: float = 0.0,
    stabilised: bool = False,
    base_name: str | None = None,
) -> Path:
    """Write changes by layer in PEFT's format; returns the folder."""
    from safetensors.torch import save_file

    tensors = {}
    for name, change in changes.items():
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = change.down.detach().cpu().contiguous()
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = change.up.detach().cpu().contiguous()
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base_name, "bias": "none",
        "r": rank, "lora_alpha": alpha, "lora_dropout": dropout, "use_rslora": stabilised,
        "target_modules": sorted(changes), "fan_in_fan_out": False, "inference_mode": True, "modules_to_save": None,
    }  # fmt: skip
    with atomic_folder(folder) as fresh:
        save_file(tensors, str(fresh / WEIGHTS), metadata={"format": "pt"})
        (fresh / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return Path(folder)


def load_adapter(model: nn.Module, folder: Path | str) -> list[str]:
    """Put the changes of a folder in PEFT's format into a plain model; returns the names of the layers.

    Raises:
        FileNotFoundError: a file is missing. ValueError: it isn't LoRA, or doesn't fit the model.
    """
    config, changes = read_adapter(folder, model)
    names = list(changes)
    apply_lora(model, names, config["r"], config["lora_alpha"], config["lora_dropout"], config.get("use_rslora", False))
    for name, change in adapters(model):
        with torch.no_grad():
            change.lora_A.copy_(changes[name].down)
            change.lora_B.copy_(changes[name].up)
    return names


def read_adapter(folder: Path | str, model: nn.Module) -> tuple[dict[str, Any], dict[str, Change]]:
    """Configuration and changes of a folder in PEFT's format; raises as :func:`load_adapter`."""
    from safetensors.torch import load_file

    folder = Path(folder)
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"{folder}: lacks {CONFIG} or {WEIGHTS}; give a folder that save_adapter or PEFT wrote")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    _refuse_unknown(folder, config)
    tensors = load_file(str(folder / WEIGHTS))
    changes: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", key)
        if match is None:
            raise ValueError(f"{folder / WEIGHTS}: {key} is no LoRA weight of a linear layer; merge it with PEFT first")
        changes.setdefault(match[1], {})[match[2]] = tensor
    linear = {name for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    if missing := sorted(changes.keys() - linear):
        raise ValueError(f"{folder}: the model has no linear layers {', '.join(missing[:4])}; is it the right model?")
    return config, {name: Change(parts["A"], parts["B"]) for name, parts in changes.items()}


def _refuse_unknown(folder: Path, config: dict[str, Any]) -> None:
    wrong = [
        text
        for hit, text in (
            (config.get("peft_type") != "LORA", f"peft_type {config.get('peft_type')!r}"),
            (config.get("use_dora"), "DoRA"),
            (config.get("bias", "none") != "none", "biases"),
            (config.get("modules_to_save"), "whole modules"),
            (config.get("rank_pattern") or config.get("alpha_pattern"), "ranks that differ by layer"),
            (config.get("fan_in_fan_out"), "transposed weights"),
        )
        if hit
    ]
    if wrong:
        raise ValueError(f"{folder / CONFIG}: has {', '.join(wrong)}, which is not read here; merge it with PEFT first")
