"""Weights over several files, for models that are larger than one file should be.

The one idea: an index names for each tensor the file it is in (the layout of Hugging Face's sharded safetensors); the
index is written last, so a folder with an index is complete. A tensor that has two names is written once.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor, nn

from nexus.core.files import atomic_file, atomic_write_text

INDEX_FILE = "model.safetensors.index.json"


def save_shards(model: nn.Module, folder: Path, limit: int) -> None:
    """Write the weights into files of at most ``limit`` bytes; a single larger tensor gets a file of its own."""
    from safetensors.torch import save_file

    groups = _groups(_once(model.state_dict(keep_vars=True)), limit)
    where: dict[str, str] = {}
    for number, group in enumerate(groups, 1):
        name = f"model-{number:05}-of-{len(groups):05}.safetensors"
        with atomic_file(folder / name) as path:
            save_file({key: tensor.detach().contiguous() for key, tensor in group.items()}, str(path))
        where |= dict.fromkeys(group, name)
    total = sum(_bytes(tensor) for group in groups for tensor in group.values())
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": where}, indent=2) + "\n"
    atomic_write_text(folder / INDEX_FILE, text)


def load_shards(folder: Path) -> dict[str, Tensor]:
    """All tensors that the index of ``folder`` names.

    Raises:
        FileNotFoundError: a file that the index names is missing.
        ValueError: the index, or a file, cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    index = folder / INDEX_FILE
    try:
        where: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        tensors: dict[str, Tensor] = {}
        for name in sorted(set(where.values())):
            tensors |= load_file(folder / name)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder / name} does not exist, but {index.name} names it; restore the file"
        ) from None
    except (ValueError, KeyError, SafetensorError) as error:
        raise ValueError(f"{index} or a file it names cannot be read ({error}); restore it or save again") from None
    return tensors


def aliases_of(model: nn.Module, names: set[str]) -> set[str]:
    """Names in the model whose tensor also goes by one of ``names``."""
    own = model.state_dict(keep_vars=True)
    places = {own[name].data_ptr() for name in names & own.keys()}
    return {name for name, tensor in own.items() if name not in names and tensor.data_ptr() in places}


def _once(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state without second names of the same tensor."""
    seen: set[tuple[int, int]] = set()
    kept = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tensor.numel())
        if not tensor.numel() or place not in seen:
            kept[name] = tensor
        seen.add(place)
    return kept


def _groups(tensors: dict[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    groups: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if groups[-1] and filled + _bytes(tensor) > limit:
            groups.append({})
            filled = 0
        groups[-1][name] = tensor
        filled += _bytes(tensor)
    return groups


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
