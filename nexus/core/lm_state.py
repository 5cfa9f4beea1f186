"""What a hybrid model carries from one call to the next, as one explicit value.

The one idea: a state can be saved, restored and forked because it is nothing but named tensors and a few numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nexus.core.files import atomic_file
from nexus.core.memory import MemoryState
from nexus.layers.attention import AttentionState
from nexus.layers.ssm import Mamba2State, WindowedMamba2State

LayerState = AttentionState | Mamba2State | WindowedMamba2State | MemoryState
FORMAT_VERSION = "1"


@dataclass(frozen=True)
class LMState:
    """State of a :class:`nexus.core.state_space.HybridLM` after some tokens.

    Attributes:
        layers: one state a layer.
        next_position: (1,) or, after ragged input, (B,) position of the next token.
        seen: positions of the cached keys for each window width in use (0: all), shared by all layers of that width.
        ragged: rows differ in length.
    """

    layers: tuple[LayerState, ...]
    next_position: Tensor
    seen: dict[int, Tensor]
    ragged: bool = False

    def fork(self) -> LMState:
        """An independent copy: continuing one does not touch the other."""
        return self.map(torch.clone)

    def map(self, change: Callable[[Tensor], Tensor]) -> LMState:
        """A state with ``change`` applied to every tensor (``lambda t: t.to(device)``, ``lambda t: t[:1]`` ...)."""
        layers = tuple(_map(layer, change) for layer in self.layers)
        seen = {window: change(positions) for window, positions in self.seen.items()}
        return replace(self, layers=layers, next_position=change(self.next_position), seen=seen)

    def nbytes(self) -> int:
        """Bytes of all tensors, spare room in growing caches not counted."""
        return sum(t.numel() * t.element_size() for _, t in self._filled())

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file, whole or not at all."""
        header = {"version": FORMAT_VERSION, "ragged": self.ragged, "kinds": [_kind(layer) for layer in self.layers]}
        tensors = {name: t.contiguous() for name, t in self._filled()}
        with atomic_file(path) as temporary:
            save_file(tensors, str(temporary), {"nexus_state": json.dumps(header)})
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> LMState:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the file is not a saved state, or of an unknown version.
        """
        try:
            with safe_open(str(path), framework="pt", device=str(device)) as file:
                header = json.loads((file.metadata() or {}).get("nexus_state", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, ValueError) as error:
            raise ValueError(f"{path}: not a saved state ({error}); save it again with LMState.save") from None
        if header.get("version") != FORMAT_VERSION:
            raise ValueError(
                f"{path}: state version {header.get('version')!r}, known: {FORMAT_VERSION!r}; save it again"
            )
        layers = tuple(_build(kind, f"layers.{i}", tensors) for i, kind in enumerate(header["kinds"]))
        seen = {int(name.split(".")[1]): t for name, t in tensors.items() if name.startswith("seen.")}
        return cls(layers, tensors["next_position"], seen, header["ragged"])

    def _filled(self) -> Iterator[tuple[str, Tensor]]:
        yield "next_position", self.next_position
        for window, positions in self.seen.items():
            yield f"seen.{window}", positions
        for i, layer in enumerate(self.layers):
            yield from _tensors(f"layers.{i}", layer)


def _kind(layer: LayerState) -> str:
    if isinstance(layer, WindowedMamba2State):
        return "W" if layer.window is not None else "w"  # w: the window has been narrowed to nothing
    if isinstance(layer, MemoryState):
        return "T"
    return "A" if isinstance(layer, AttentionState) else "M"


def _map(layer: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(layer, Tensor):
        return change(layer)
    if layer is None or isinstance(layer, int):
        return layer
    return type(layer)(*(_map(part, change) for part in layer))


def _tensors(name: str, layer: LayerState) -> Iterator[tuple[str, Tensor]]:
    if isinstance(layer, AttentionState):
        yield f"{name}.key", layer.key[:, :, : layer.length]
        yield f"{name}.value", layer.value[:, :, : layer.length]
    elif isinstance(layer, Mamba2State):
        yield f"{name}.ssm", layer.ssm
        yield f"{name}.conv", layer.conv
    elif isinstance(layer, MemoryState):
        yield f"{name}.anchor", layer.anchor.clone()  # at a chunk's start it is the very tensor of the weights
        yield from ((f"{name}.{field}", part) for field, part in layer._asdict().items() if field != "anchor")
    else:
        yield from _tensors(f"{name}.mamba", layer.mamba)
        if layer.window is not None:
            yield from _tensors(f"{name}.window", layer.window)


def _build(kind: str, name: str, tensors: dict[str, Tensor]) -> LayerState:
    if kind == "A":
        key, value = tensors[f"{name}.key"], tensors[f"{name}.value"]
        return AttentionState(key, value, key.shape[2])
    if kind == "M":
        return Mamba2State(tensors[f"{name}.ssm"], tensors[f"{name}.conv"])
    if kind == "T":
        return MemoryState(*(tensors[f"{name}.{field}"] for field in MemoryState._fields))
    window = _build("A", f"{name}.window", tensors) if kind == "W" else None
    mamba = _build("M", f"{name}.mamba", tensors)
    assert isinstance(mamba, Mamba2State)
    assert window is None or isinstance(window, AttentionState)
    return WindowedMamba2State(mamba, window)
