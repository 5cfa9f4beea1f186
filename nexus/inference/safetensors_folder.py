"""Tensors of a folder of safetensors files, read when they are asked for.

The one idea: whether a checkpoint is one file or many with an index, it is one mapping from name to tensor; files are
mapped into memory, so that nothing is read but what is used.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError, safe_open
from torch import Tensor

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


class SafetensorsFolder(Mapping[str, Tensor]):
    """``with SafetensorsFolder(folder) as tensors: tensors["model.norm.weight"]``.

    Raises:
        FileNotFoundError: no safetensors in the folder, or a file of the index is missing.
        ValueError: a file is damaged, or a tensor of the index is not where the index says.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._stack = ExitStack()
        self._home: dict[str, Any] = {}  # tensor name to open file
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise

    def _open(self) -> None:
        single, index = self.folder / SINGLE, self.folder / INDEX
        if single.is_file():
            file = self._map(single)
            self._home = dict.fromkeys(file.keys(), file)
        elif index.is_file():
            places = _read_index(index)
            files = {name: self._map(self.folder / name) for name in sorted(set(places.values()))}
            self._home = {tensor: files[name] for tensor, name in places.items()}
        else:
            raise FileNotFoundError(
                f"{self.folder} holds neither {SINGLE} nor {INDEX}; give a folder with weights in safetensors "
                "(pickled .bin weights are not read: convert them first)"
            )

    def _map(self, path: Path) -> Any:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is named in {INDEX} but does not exist; fetch the checkpoint again")
        try:
            return self._stack.enter_context(safe_open(str(path), framework="pt"))
        except SafetensorError as error:
            raise ValueError(f"{path} is not a whole safetensors file ({error}); fetch it again") from None

    def __getitem__(self, name: str) -> Tensor:
        file = self._home[name]
        try:
            tensor: Tensor = file.get_tensor(name)
        except SafetensorError as error:
            raise ValueError(
                f"{self.folder}: tensor {name} cannot be read ({error}); fetch the checkpoint again"
            ) from None
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _read_index(path: Path) -> dict[str, str]:
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        outside = [name for name in places.values() if Path(name).name != name]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not an index of safetensors files ({error!r}); fetch it again") from None
    if outside:  # an index must not make us read files elsewhere
        raise ValueError(f"{path} names {outside[0]!r}, which is not a file of its own folder; fetch it again")
    return dict(places)
