"""Any state dict as tensors and JSON, and back: how checkpoints hold an optimiser without unpickling anything.

The one idea: a tree of plain values in which each tensor is replaced by its name. Tuples, and mappings whose keys
aren't text, are marked, because JSON would change them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_TENSOR, _TUPLE, _ITEMS, _BYTES = "__tensor__", "__tuple__", "__items__", "__bytes__"
_LEAVES = (int, float, str, bool, type(None))


def pack(value: Any, tensors: dict[str, Tensor], where: str = "state") -> Any:
    """The tree for JSON; tensors go into ``tensors`` under names that say where they stood.

    Raises:
        ValueError: there is something that is neither tensor nor plain value; the message says where.
    """
    if isinstance(value, Tensor):
        tensors[where] = value.detach()
        return {_TENSOR: where}
    if isinstance(value, Mapping):
        items = [(key, pack(item, tensors, f"{where}.{key}")) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("__") for key, _ in items):
            return dict(items)
        return {_ITEMS: [[pack(key, tensors, where), item] for key, item in items]}
    if isinstance(value, (list, tuple)):
        packed = [pack(item, tensors, f"{where}.{index}") for index, item in enumerate(value)]
        return {_TUPLE: packed} if isinstance(value, tuple) else packed
    if isinstance(value, bytes):
        return {_BYTES: value.hex()}
    if type(value) in _LEAVES:
        return value
    raise ValueError(f"{where}: is a {type(value).__name__}; a checkpoint holds tensors and plain values only")


def unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo :func:`pack`."""
    if isinstance(tree, list):
        return [unpack(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.keys() == {_TENSOR}:
        return tensors[tree[_TENSOR]]
    if tree.keys() == {_TUPLE}:
        return tuple(unpack(item, tensors) for item in tree[_TUPLE])
    if tree.keys() == {_ITEMS}:
        return {unpack(key, tensors): unpack(item, tensors) for key, item in tree[_ITEMS]}
    if tree.keys() == {_BYTES}:
        return bytes.fromhex(tree[_BYTES])
    return {key: unpack(item, tensors) for key, item in tree.items()}


def alone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU that share no memory, as safetensors asks for (torch's own views may)."""
    return {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal to the last bit (NaN equals itself)."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(_bits(one), _bits(other))
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or one != one)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
